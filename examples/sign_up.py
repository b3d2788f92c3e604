"""A sign-up service: what its pages call. mailer.py sends the tokens to the person."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import biome_users as biome
from biome_users import commands as c
from biome_users.second_factor import find_totp_step, new_recovery_codes, recovery_code_hash


class Accounts:
    def __init__(self, source, tokens, passwords, cipher):
        self.tokens, self.passwords, self.cipher = tokens, passwords, cipher
        self.users, self.reader = biome.UserCommands(source=source), biome.LoginReader()
        self.outcomes = biome.OutcomeListener(source=source)  # start it before the first command

    def decide(self, command, user_id=None):
        answer = self.outcomes.answer(self.users.send(command, user_id=user_id))
        if answer.code:
            raise PermissionError(answer.code)  # such as EmailTaken or TokenInvalid
        return answer.user_id

    def mailed(self, purpose):  # the mailer derives the token from its id
        token_hash = biome.token_hash(self.tokens.token(purpose, token_id := uuid4()))
        return {"token_id": token_id, "token_hash": token_hash, **days(1 / 24)}

    def register(self, email, first_name, password):
        hashed = self.passwords.hash(password)
        new = c.RegisterUser(email=email, first_name=first_name, password_hash=hashed)
        user_id = self.decide(new)
        return self.decide(c.RequestEmailVerification(**self.mailed("verification")), user_id)

    def confirm(self, kind, user_id, token):  # kind: c.VerifyEmail or c.ConfirmEmailChange
        self.decide(kind(token_hash=biome.token_hash(token)), user_id)

    def enable_second_factor(self, user_id, secret):
        codes = new_recovery_codes()
        hashes, sealed = map(recovery_code_hash, codes), self.cipher.encrypt(secret, user_id)
        enable = c.EnableTwoFactor(secret_ciphertext=sealed, recovery_code_hashes=list(hashes))
        self.decide(enable, user_id)
        return codes

    def log_in(self, email, password, code=""):
        user, step, now = self.reader.by_email(email), None, datetime.now(UTC).timestamp()
        if not self.passwords.verify(user and user.password_hash, password):
            raise PermissionError("WrongPassword")  # login_service.py also counts failures
        if factor := self.reader.second_factor(user.user_id):
            secret = self.cipher.decrypt(factor.secret_ciphertext, user.user_id)
            step = find_totp_step(secret, code, now, factor.last_totp_step)
        token = biome.RefreshToken.new(user.user_id)
        proof = {"totp_step": step, "methods": ["pwd", "otp"] if step else ["pwd"]}
        version = {"credential_version": user.credential_version, **days(30)}
        self.decide(c.StartSession(**token.fields(), **proof, **version), user.user_id)
        return token

    def refresh(self, token):  # two tabs may exchange the same token within some seconds
        next_ = token.next()
        hashed = {"next_refresh_token_hash": next_.refresh_token_hash}
        self.decide(c.RotateRefreshToken(**token.fields(), **hashed, **days(30)), token.user_id)
        return next_

    def change_email(self, user_id, new_email):
        self.decide(c.RequestEmailChange(new_email=new_email, **self.mailed("change")), user_id)

    def forgot_password(self, email):  # the same answer for an unknown address
        self.users.send(c.RequestPasswordReset(email=email, **self.mailed("reset")))

    def reset_password(self, user_id, token, password):
        hashed = self.passwords.hash(password)
        reset = c.ResetPassword(token_hash=biome.token_hash(token), password_hash=hashed)
        self.decide(reset, user_id)


def days(count):
    return {"expires_at": datetime.now(UTC) + timedelta(days=count)}
