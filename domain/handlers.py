"""Decide commands: first the common rules, then those of the aggregate. All functions are pure.

`handle` is the only entry point. `_change` passes to the aggregate's method of each command the
arguments that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain import commands as c
from domain.errors import RejectedError, RejectionCode
from domain.events import (
    CommandHadNoEffect,
    CommandRejected,
    RecordedEvent,
    UserCreated,
    UserRegistered,
)
from domain.policy import ACCESS_COMMAND_AGE, DEFAULT_POLICY, UserPolicy
from domain.sessions import RefreshToken, Session
from domain.tokens import OneTimeToken
from domain.user import Events, SecondFactor, User


@dataclass(frozen=True, slots=True)
class Context:
    """The input of a decision besides the command and its user."""

    now: datetime
    """In UTC."""
    addresses: Mapping[str, str]
    """The owner's user id by `EmailAddress.key`, of the addresses concerned that are not free.

    An address is not free while a ban of its erased owner is in force.
    """
    oldest: datetime
    """Commands sent before this time are rejected: their outcome may have been deleted."""
    hash_address: Callable[[str], str]
    """Keyed hash of an `EmailAddress.key`."""
    policy: UserPolicy = DEFAULT_POLICY


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a command."""

    user: User | None
    """The aggregate afterwards; `None` if there is no such user."""
    events: tuple[RecordedEvent, ...]
    """The events to publish, including those of category command; never empty."""
    code: RejectionCode | None
    """The reason of a rejection; `None`: accepted."""
    changed: bool
    """Whether the user or a part of it must be saved; some rejections change the user."""


def handle(envelope: c.CommandEnvelope, user: User | None, context: Context) -> Decision:
    """Decide one command.

    `user` is the present state of the user that the command names, with the session or the second
    factor that the command needs. It may be changed, so the caller passes its own copy. A rejected
    command changes nothing, with the exception that `Decision.changed` documents.
    """
    try:
        _check_age(envelope, user, context)
        if envelope.command.creates_user:
            user, events = _create(envelope, user, context)
        else:
            events = _apply(envelope, user, context)
    except RejectedError as rejected:
        event = CommandRejected(envelope.command_id, envelope.type, rejected.code.value)
        refusal = RecordedEvent.of(event, sequence=None)
        if user is None or not rejected.events:
            return Decision(user, (refusal,), rejected.code, changed=False)
        recorded = user.record(rejected.events, context.now)
        return Decision(user, (*recorded, refusal), rejected.code, changed=True)
    if user is None or not events:
        no_effect = CommandHadNoEffect(envelope.command_id, envelope.type)
        return Decision(user, (RecordedEvent.of(no_effect, sequence=None),), None, changed=False)
    return Decision(user, user.record(events, context.now), None, changed=True)


def _check_age(envelope: c.CommandEnvelope, user: User | None, context: Context) -> None:
    expired = envelope.expires_at is not None and envelope.expires_at <= context.now
    max_age = envelope.command.max_age
    stale = max_age is not None and envelope.sent_at < context.now - max_age
    if expired or stale or envelope.sent_at < context.oldest:
        raise RejectedError(RejectionCode.COMMAND_EXPIRED)
    if user is not None and _shortens_ban_late(envelope, user, context):
        raise RejectedError(RejectionCode.COMMAND_EXPIRED)


def _shortens_ban_late(envelope: c.CommandEnvelope, user: User, context: Context) -> bool:
    """Return True if an old BanUser would end a ban earlier, and so restore access."""
    command = envelope.command
    if not isinstance(command, c.BanUser) or command.until is None:
        return False
    late = envelope.sent_at < context.now - ACCESS_COMMAND_AGE
    return late and user.is_banned_beyond(command.until, context.now)


def _check_version(envelope: c.CommandEnvelope, version: int) -> None:
    if envelope.expected_version not in (None, version):
        raise RejectedError(RejectionCode.VERSION_CONFLICT)


def _create(
    envelope: c.CommandEnvelope, user: User | None, context: Context
) -> tuple[User, Events]:
    if user is not None:
        code = RejectionCode.USER_ERASED if user.erased else RejectionCode.USER_ALREADY_EXISTS
        raise RejectedError(code)
    _check_version(envelope, 0)
    assert envelope.user_id is not None  # the boundary derives one where the subject is left out
    command = envelope.command
    assert isinstance(command, c.RegisterUser | c.CreateUser)
    email = command.email
    if email.key in context.addresses:
        raise RejectedError(RejectionCode.EMAIL_TAKEN)
    created = User.create(
        envelope.user_id, email, command.password_hash, context.now, **_profile(command)
    )
    if isinstance(command, c.RegisterUser):
        return created, (UserRegistered(email.value),)
    created.initialize(
        command.roles, email_verified=bool(command.email_verified), created_at=command.created_at
    )
    return created, (UserCreated(email.value, created.roles, created.email_verified),)


def _apply(envelope: c.CommandEnvelope, user: User | None, context: Context) -> Events:
    command = envelope.command
    if user is None or not _is_named(envelope, user):
        # The answer must not tell whether an address is known.
        if envelope.user_id is None and isinstance(command, c.RequestPasswordReset):
            _token(command, context, context.policy.reset_lifetime)  # refuses an expired request
            return ()
        if envelope.user_id is None and isinstance(command, c.ResetPassword):
            raise RejectedError(RejectionCode.TOKEN_INVALID)
        raise RejectedError(RejectionCode.USER_NOT_FOUND)
    if user.erased and not _lifts_remaining_ban(envelope, user, context):
        raise RejectedError(RejectionCode.USER_ERASED)
    _check_version(envelope, user.version)
    return _change(user, command, context)


def _lifts_remaining_ban(envelope: c.CommandEnvelope, user: User, context: Context) -> bool:
    """Return True if the command ends the ban that remains of an erased user."""
    expected = envelope.expected_version in (None, user.version)
    return isinstance(envelope.command, c.UnbanUser) and expected and user.is_banned(context.now)


def _is_named(envelope: c.CommandEnvelope, user: User) -> bool:
    """Return True if the address that names the user still belongs to the user.

    Between the two reads, another user may have taken it, or its owner may have been erased.
    """
    named = envelope.by_email
    return named is None or (user.email is not None and user.email.key == named.key)


def _profile(command: c.RegisterUser | c.CreateUser | c.UpdateProfile) -> dict[str, str | None]:
    names = ("first_name", "last_name", "locale", "time_zone")
    return {name: getattr(command, name) for name in names}


def _token(
    command: c.RequestEmailVerification | c.RequestEmailChange | c.RequestPasswordReset,
    context: Context,
    longest: timedelta,
) -> OneTimeToken:
    return OneTimeToken.issued(command.token_hash, command.expires_at, context.now, longest)


def _change(user: User, command: c.Command, context: Context) -> Events:  # noqa: C901, PLR0911, PLR0912 - a table
    """Call the aggregate's method of a command; the most frequent commands come first."""
    now, policy = context.now, context.policy
    match command:
        case c.UpdateProfile():
            return user.update_profile(**_profile(command))
        # --- sessions and logins ---
        case c.StartSession():
            session = Session.new(
                command.session_id,
                RefreshToken(command.refresh_family_hash, command.refresh_token_hash),
                command.expires_at,
                command.methods,
                command.device,
            )
            factor = SecondFactor(command.totp_step, command.recovery_code_hash)
            return user.start_session(session, command.credential_version, factor, now, policy)
        case c.RotateRefreshToken():
            return user.rotate_refresh_token(
                command.session_id,
                RefreshToken(command.refresh_family_hash, command.refresh_token_hash),
                command.next_refresh_token_hash,
                command.expires_at,
                now=now,
                policy=policy,
            )
        case c.RecordLoginFailure():
            return user.record_login_failure(command.stage or "password", now, policy)
        case c.RevokeSession():
            return user.revoke_session(command.session_id, now)
        case c.RevokeOtherSessions():
            return user.revoke_other_sessions(command.session_id, now)
        case c.RevokeAllSessions():
            return user.revoke_all_sessions()
        case c.UnlockUser():
            return user.unlock()
        # --- e-mail ---
        case c.RequestEmailVerification():
            token = _token(command, context, policy.verification_lifetime)
            return user.request_email_verification(command.token_id, token)
        case c.VerifyEmail():
            return user.verify_email(command.token_hash, now)
        case c.RequestEmailChange():
            user.check_credential(command.credential_version)
            token = _token(command, context, policy.email_change_lifetime)
            return user.request_email_change(
                command.new_email, command.token_id, token, context.addresses
            )
        case c.ConfirmEmailChange():
            return user.confirm_email_change(command.token_hash, context.addresses, now)
        case c.CancelEmailChange():
            return user.cancel_email_change()
        # --- password ---
        case c.ChangePassword():
            return user.change_password(command.password_hash, command.credential_version)
        case c.UpgradePasswordHash():
            return user.upgrade_password_hash(command.password_hash, command.credential_version)
        case c.RequestPasswordReset():
            token = _token(command, context, policy.reset_lifetime)
            return user.request_password_reset(command.token_id, token)
        case c.ResetPassword():
            return user.reset_password(command.token_hash, command.password_hash, now)
        # --- second factor, roles and terms ---
        case c.EnableTwoFactor():
            user.check_credential(command.credential_version)
            return user.enable_two_factor(command.secret_ciphertext, command.recovery_code_hashes)
        case c.DisableTwoFactor():
            return user.disable_two_factor()
        case c.UseRecoveryCode():
            return user.use_recovery_code(command.code_hash, now, policy)
        case c.RegenerateRecoveryCodes():
            user.check_credential(command.credential_version)
            return user.regenerate_recovery_codes(command.recovery_code_hashes)
        case c.AssignRole():
            return user.assign_role(command.role)
        case c.RevokeRole():
            return user.revoke_role(command.role)
        case c.AcceptTerms():
            return user.accept_terms(command.document, command.version, now)
        # --- status and privacy ---
        case c.BanUser():
            return user.impose_ban(command.reason, command.until, now)
        case c.UnbanUser():
            return user.lift_ban(now)
        case c.DeactivateUser():
            return user.deactivate(command.reason)
        case c.ReactivateUser():
            return user.reactivate()
        case c.EraseUser():
            return user.erase(now, context.hash_address)
    raise TypeError(f"{command.type} has no case in domain.handlers")
