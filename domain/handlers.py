"""Decide commands: first the common rules, then those of the aggregate. All functions are pure.

`handle` is the only entry point. The handler of a command passes its method of the aggregate the
arguments it needs; `_HANDLERS` and `_CREATORS` map each command to its handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from domain import commands as c
from domain.errors import RejectedError, RejectionCode
from domain.events import (
    CommandHadNoEffect,
    CommandRejected,
    Event,
    RecordedEvent,
    UserCreated,
    UserRegistered,
)
from domain.policy import ACCESS_COMMAND_AGE, DEFAULT_POLICY, UserPolicy
from domain.sessions import RefreshToken, Session
from domain.tokens import OneTimeToken
from domain.user import Events, SecondFactor, User
from domain.values import EmailAddress


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
        refusal = _refusal(envelope, rejected.code)
        if user is None or not rejected.events:
            return Decision(user, (refusal,), rejected.code, changed=False)
        recorded = user.record(rejected.events, context.now)
        return Decision(user, (*recorded, refusal), rejected.code, changed=True)
    if user is None or not events:
        return Decision(user, (_no_effect(envelope),), None, changed=False)
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
    return _CREATORS[type(envelope.command)](envelope.user_id, envelope.command, context)


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
    return _HANDLERS[type(command)](user, command, context)


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


def _refusal(envelope: c.CommandEnvelope, code: RejectionCode) -> RecordedEvent:
    return _unnumbered(CommandRejected(envelope.command_id, envelope.type, code.value))


def _no_effect(envelope: c.CommandEnvelope) -> RecordedEvent:
    return _unnumbered(CommandHadNoEffect(envelope.command_id, envelope.type))


def _unnumbered(event: Event) -> RecordedEvent:
    return RecordedEvent.of(event, sequence=None)


# --- registration ---


def _check_unowned(email: EmailAddress, context: Context) -> None:
    if email.key in context.addresses:
        raise RejectedError(RejectionCode.EMAIL_TAKEN)


def _profile(command: c.RegisterUser | c.CreateUser | c.UpdateProfile) -> dict[str, str | None]:
    names = ("first_name", "last_name", "locale", "time_zone")
    return {name: getattr(command, name) for name in names}


def _register(user_id: str, command: c.RegisterUser, context: Context) -> tuple[User, Events]:
    _check_unowned(command.email, context)
    user = User.create(
        user_id, command.email, command.password_hash, context.now, **_profile(command)
    )
    return user, (UserRegistered(command.email.value),)


def _create_user(user_id: str, command: c.CreateUser, context: Context) -> tuple[User, Events]:
    _check_unowned(command.email, context)
    user = User.create(
        user_id, command.email, command.password_hash, context.now, **_profile(command)
    )
    user.initialize(
        command.roles,
        email_verified=bool(command.email_verified),
        created_at=command.created_at,
    )
    return user, (UserCreated(command.email.value, user.roles, user.email_verified),)


# --- profile and e-mail ---


def _update_profile(user: User, command: c.UpdateProfile, _: Context) -> Events:
    return user.update_profile(**_profile(command))


def _token(
    command: c.RequestEmailVerification | c.RequestEmailChange | c.RequestPasswordReset,
    context: Context,
    longest: timedelta,
) -> OneTimeToken:
    return OneTimeToken.issued(command.token_hash, command.expires_at, context.now, longest)


def _request_verification(
    user: User, command: c.RequestEmailVerification, context: Context
) -> Events:
    token = _token(command, context, context.policy.verification_lifetime)
    return user.request_email_verification(command.token_id, token)


def _verify_email(user: User, command: c.VerifyEmail, context: Context) -> Events:
    return user.verify_email(command.token_hash, context.now)


def _request_email_change(user: User, command: c.RequestEmailChange, context: Context) -> Events:
    user.check_credential(command.credential_version)
    token = _token(command, context, context.policy.email_change_lifetime)
    return user.request_email_change(command.new_email, command.token_id, token, context.addresses)


def _confirm_email_change(user: User, command: c.ConfirmEmailChange, context: Context) -> Events:
    return user.confirm_email_change(command.token_hash, context.addresses, context.now)


def _cancel_email_change(user: User, _: c.CancelEmailChange, __: Context) -> Events:
    return user.cancel_email_change()


def _accept_terms(user: User, command: c.AcceptTerms, context: Context) -> Events:
    return user.accept_terms(command.document, command.version, context.now)


# --- password ---


def _change_password(user: User, command: c.ChangePassword, _: Context) -> Events:
    return user.change_password(command.password_hash, command.credential_version)


def _upgrade_password_hash(user: User, command: c.UpgradePasswordHash, _: Context) -> Events:
    return user.upgrade_password_hash(command.password_hash, command.credential_version)


def _request_reset(user: User, command: c.RequestPasswordReset, context: Context) -> Events:
    token = _token(command, context, context.policy.reset_lifetime)
    return user.request_password_reset(command.token_id, token)


def _reset_password(user: User, command: c.ResetPassword, context: Context) -> Events:
    return user.reset_password(command.token_hash, command.password_hash, context.now)


# --- sessions and logins ---


def _start_session(user: User, command: c.StartSession, context: Context) -> Events:
    session = Session.new(
        command.session_id,
        RefreshToken(command.refresh_family_hash, command.refresh_token_hash),
        command.expires_at,
        command.methods,
        command.device,
    )
    factor = SecondFactor(command.totp_step, command.recovery_code_hash)
    return user.start_session(
        session, command.credential_version, factor, context.now, context.policy
    )


def _rotate(user: User, command: c.RotateRefreshToken, context: Context) -> Events:
    return user.rotate_refresh_token(
        command.session_id,
        RefreshToken(command.refresh_family_hash, command.refresh_token_hash),
        command.next_refresh_token_hash,
        command.expires_at,
        now=context.now,
        policy=context.policy,
    )


def _revoke_session(user: User, command: c.RevokeSession, context: Context) -> Events:
    return user.revoke_session(command.session_id, context.now)


def _revoke_other_sessions(user: User, command: c.RevokeOtherSessions, context: Context) -> Events:
    return user.revoke_other_sessions(command.session_id, context.now)


def _revoke_all_sessions(user: User, _: c.RevokeAllSessions, __: Context) -> Events:
    return user.revoke_all_sessions()


def _record_failure(user: User, command: c.RecordLoginFailure, context: Context) -> Events:
    return user.record_login_failure(command.stage or "password", context.now, context.policy)


def _unlock(user: User, _: c.UnlockUser, __: Context) -> Events:
    return user.unlock()


# --- second factor and roles ---


def _enable_two_factor(user: User, command: c.EnableTwoFactor, _: Context) -> Events:
    user.check_credential(command.credential_version)
    return user.enable_two_factor(command.secret_ciphertext, command.recovery_code_hashes)


def _disable_two_factor(user: User, _: c.DisableTwoFactor, __: Context) -> Events:
    return user.disable_two_factor()


def _use_recovery_code(user: User, command: c.UseRecoveryCode, context: Context) -> Events:
    return user.use_recovery_code(command.code_hash, context.now, context.policy)


def _regenerate_recovery_codes(
    user: User, command: c.RegenerateRecoveryCodes, _: Context
) -> Events:
    user.check_credential(command.credential_version)
    return user.regenerate_recovery_codes(command.recovery_code_hashes)


def _assign_role(user: User, command: c.AssignRole, _: Context) -> Events:
    return user.assign_role(command.role)


def _revoke_role(user: User, command: c.RevokeRole, _: Context) -> Events:
    return user.revoke_role(command.role)


# --- status and privacy ---


def _ban(user: User, command: c.BanUser, context: Context) -> Events:
    return user.impose_ban(command.reason, command.until, context.now)


def _unban(user: User, _: c.UnbanUser, context: Context) -> Events:
    return user.lift_ban(context.now)


def _deactivate(user: User, command: c.DeactivateUser, _: Context) -> Events:
    return user.deactivate(command.reason)


def _reactivate(user: User, _: c.ReactivateUser, __: Context) -> Events:
    return user.reactivate()


def _erase(user: User, _: c.EraseUser, context: Context) -> Events:
    return user.erase(context.now, context.hash_address)


_CREATORS: dict[type[c.Command], Callable[[str, Any, Context], tuple[User, Events]]] = {
    c.RegisterUser: _register,
    c.CreateUser: _create_user,
}

_HANDLERS: dict[type[c.Command], Callable[[User, Any, Context], Events]] = {
    c.UpdateProfile: _update_profile,
    c.RequestEmailVerification: _request_verification,
    c.VerifyEmail: _verify_email,
    c.RequestEmailChange: _request_email_change,
    c.ConfirmEmailChange: _confirm_email_change,
    c.CancelEmailChange: _cancel_email_change,
    c.AcceptTerms: _accept_terms,
    c.ChangePassword: _change_password,
    c.UpgradePasswordHash: _upgrade_password_hash,
    c.RequestPasswordReset: _request_reset,
    c.ResetPassword: _reset_password,
    c.StartSession: _start_session,
    c.RotateRefreshToken: _rotate,
    c.RevokeSession: _revoke_session,
    c.RevokeOtherSessions: _revoke_other_sessions,
    c.RevokeAllSessions: _revoke_all_sessions,
    c.RecordLoginFailure: _record_failure,
    c.UnlockUser: _unlock,
    c.EnableTwoFactor: _enable_two_factor,
    c.DisableTwoFactor: _disable_two_factor,
    c.UseRecoveryCode: _use_recovery_code,
    c.RegenerateRecoveryCodes: _regenerate_recovery_codes,
    c.AssignRole: _assign_role,
    c.RevokeRole: _revoke_role,
    c.BanUser: _ban,
    c.UnbanUser: _unban,
    c.DeactivateUser: _deactivate,
    c.ReactivateUser: _reactivate,
    c.EraseUser: _erase,
}
