"""Expected results of the commands about names, address, password and roles."""

from __future__ import annotations

from datetime import timedelta

from domain import commands as c
from domain import events as e
from domain.errors import RejectionCode as Code
from domain.policy import MAX_TERMS_DOCUMENTS
from domain.user import AcceptedTerms, EmailChange
from domain.values import EmailAddress
from tests.unit.domain.given import (
    ADA,
    BEFORE,
    NEW,
    NOW,
    OTHER_ID,
    SOON,
    TOKEN_ID,
    USER_ID,
    Case,
    ada,
    erased,
    out,
    password,
    second_factor,
    token,
)

LOUD = EmailAddress.parse("ADA@example.com")
"""The address of `ADA` in another letter case."""

PROFILE = [
    Case(
        "both names change",
        c.UpdateProfile("Augusta", "King"),
        events=(e.ProfileUpdated(("first_name", "last_name")),),
        after={"first_name": "Augusta", "last_name": "King"},
    ),
    Case(
        "only what differs is listed",
        c.UpdateProfile("Ada", "King"),
        events=(e.ProfileUpdated(("last_name",)),),
        after={"last_name": "King"},
    ),
    Case(
        "one name may be given alone",
        c.UpdateProfile(first_name="Augusta"),
        events=(e.ProfileUpdated(("first_name",)),),
        after={"first_name": "Augusta"},
    ),
    Case("the same names have no effect", c.UpdateProfile("Ada", "Lovelace")),
    Case(
        "a language and a time zone are set",
        c.UpdateProfile(locale="de-CH", time_zone="Europe/Zurich"),
        ada(locale="de"),
        events=(e.ProfileUpdated(("locale", "time_zone")),),
        after={"locale": "de-CH", "time_zone": "Europe/Zurich"},
    ),
]

_TERMS = c.AcceptTerms("terms", "2")
_FULL = {f"document-{number}": AcceptedTerms("1", BEFORE) for number in range(MAX_TERMS_DOCUMENTS)}

TERMS = [
    Case(
        "a version of a document is accepted",
        _TERMS,
        ada(terms={"privacy": AcceptedTerms("1", BEFORE)}),
        events=(e.TermsAccepted("terms", "2"),),
        after={"terms": {"privacy": AcceptedTerms("1", BEFORE), "terms": AcceptedTerms("2", NOW)}},
    ),
    Case(
        "a later version replaces an earlier one",
        _TERMS,
        ada(terms={"terms": AcceptedTerms("1", BEFORE)}),
        events=(e.TermsAccepted("terms", "2"),),
        after={"terms": {"terms": AcceptedTerms("2", NOW)}},
    ),
    Case(
        "the same version keeps its time",
        _TERMS,
        ada(terms={"terms": AcceptedTerms("2", BEFORE)}),
    ),
    Case(
        "the number of documents is limited",
        _TERMS,
        ada(terms=_FULL),
        code=Code.TOO_MANY_DOCUMENTS,
    ),
]

_ASK = c.RequestEmailVerification(TOKEN_ID, token("mail"), SOON)
_ASKED = e.EmailVerificationRequested(ADA.value, TOKEN_ID, SOON)

VERIFICATION = [
    Case(
        "a verification is asked for",
        _ASK,
        events=(_ASKED,),
        after={"email_verification": out("mail")},
    ),
    Case(
        "a later token replaces an earlier one",
        _ASK,
        ada(email_verification=out("earlier")),
        events=(_ASKED,),
        after={"email_verification": out("mail")},
    ),
    Case("a verified address needs no mail", _ASK, ada(email_verified=True)),
    Case(
        "a verification token is valid for seven days at most",
        c.RequestEmailVerification(TOKEN_ID, token("mail"), NOW + timedelta(days=8)),
        events=(e.EmailVerificationRequested(ADA.value, TOKEN_ID, NOW + timedelta(days=7)),),
        after={"email_verification": out("mail", NOW + timedelta(days=7))},
    ),
    Case(
        "a verification token that has expired is refused",
        c.RequestEmailVerification(TOKEN_ID, token("mail"), NOW),
        code=Code.TOKEN_EXPIRED,
    ),
    Case(
        "the token that is out verifies and is used up",
        c.VerifyEmail(token("mail")),
        ada(email_verification=out("mail")),
        events=(e.EmailVerified(),),
        after={"email_verified": True, "email_verification": None},
    ),
    Case(
        "a verified address stays so, whatever token comes",
        c.VerifyEmail(token("wrong")),
        ada(email_verified=True),
    ),
    Case(
        "another token is invalid",
        c.VerifyEmail(token("wrong")),
        ada(email_verification=out("mail")),
        code=Code.TOKEN_INVALID,
    ),
    Case(
        "a token is invalid where none is out",
        c.VerifyEmail(token("mail")),
        code=Code.TOKEN_INVALID,
    ),
    Case(
        "a reset token does not verify an address",
        c.VerifyEmail(token("reset")),
        ada(password_reset=out("reset")),
        code=Code.TOKEN_INVALID,
    ),
    Case(
        "a token is expired at its very time",
        c.VerifyEmail(token("mail")),
        ada(email_verification=out("mail", NOW)),
        code=Code.TOKEN_EXPIRED,
    ),
    Case(
        "a change is not requested by a session from before access ended",
        c.RequestEmailChange(NEW, TOKEN_ID, token("change"), SOON, 0),
        code=Code.CREDENTIAL_STALE,
    ),
    Case(
        "a wrong token does not tell that the right one expired",
        c.VerifyEmail(token("wrong")),
        ada(email_verification=out("mail", BEFORE)),
        code=Code.TOKEN_INVALID,
    ),
]


def _ask(email: EmailAddress) -> c.RequestEmailChange:
    return c.RequestEmailChange(email, TOKEN_ID, token("change"), SOON)


_PENDING = EmailChange(NEW, out("change"))
_CONFIRM = c.ConfirmEmailChange(token("change"))

EMAIL_CHANGE = [
    Case(
        "a change is asked for: mail to the new address, notice to the old one",
        _ask(NEW),
        events=(e.EmailChangeRequested(ADA.value, NEW.value, TOKEN_ID, SOON),),
        after={"email_change": _PENDING},
    ),
    Case(
        "a later change replaces an earlier one",
        _ask(NEW),
        ada(email_change=EmailChange(LOUD, out("earlier"))),
        events=(e.EmailChangeRequested(ADA.value, NEW.value, TOKEN_ID, SOON),),
        after={"email_change": _PENDING},
    ),
    Case(
        "one's own address in another letter case is not taken",
        _ask(LOUD),
        addresses={ADA.key: USER_ID},
        events=(e.EmailChangeRequested(ADA.value, LOUD.value, TOKEN_ID, SOON),),
        after={"email_change": EmailChange(LOUD, out("change"))},
    ),
    Case("the present address has no effect", _ask(ADA), addresses={ADA.key: USER_ID}),
    Case(
        "somebody else's address is taken",
        _ask(NEW),
        addresses={NEW.key: OTHER_ID},
        code=Code.EMAIL_TAKEN,
    ),
    Case(
        "the new address replaces the old, and what was mailed to the old one is void",
        _CONFIRM,
        ada(email_change=_PENDING, email_verification=out("mail"), password_reset=out("reset")),
        events=(e.EmailChanged(ADA.value, NEW.value),),
        after={
            "email": NEW,
            "email_verified": True,
            "email_change": None,
            "email_verification": None,
            "password_reset": None,
        },
    ),
    Case(
        "one's own address in another letter case is taken over",
        _CONFIRM,
        ada(email_change=EmailChange(LOUD, out("change"))),
        addresses={ADA.key: USER_ID},
        events=(e.EmailChanged(ADA.value, LOUD.value),),
        after={"email": LOUD, "email_verified": True, "email_change": None},
    ),
    Case("a token is invalid where no change waits", _CONFIRM, code=Code.TOKEN_INVALID),
    Case(
        "the token of a change is valid for a day at most",
        c.RequestEmailChange(NEW, TOKEN_ID, token("change"), NOW + timedelta(days=2)),
        events=(e.EmailChangeRequested(ADA.value, NEW.value, TOKEN_ID, NOW + timedelta(days=1)),),
        after={"email_change": EmailChange(NEW, out("change", NOW + timedelta(days=1)))},
    ),
    Case(
        "the token of a change that has expired is refused",
        c.RequestEmailChange(NEW, TOKEN_ID, token("change"), BEFORE),
        code=Code.TOKEN_EXPIRED,
    ),
    Case(
        "a change is cancelled",
        c.CancelEmailChange(),
        ada(email_change=_PENDING),
        events=(e.EmailChangeCancelled(),),
        after={"email_change": None},
    ),
    Case("without a change there is nothing to cancel", c.CancelEmailChange()),
    Case(
        "another token is invalid",
        c.ConfirmEmailChange(token("wrong")),
        ada(email_change=_PENDING),
        code=Code.TOKEN_INVALID,
    ),
    Case(
        "a change expires",
        _CONFIRM,
        ada(email_change=EmailChange(NEW, out("change", NOW))),
        code=Code.TOKEN_EXPIRED,
    ),
    Case(
        "an address that somebody took in between is taken",
        _CONFIRM,
        ada(email_change=_PENDING),
        addresses={NEW.key: OTHER_ID},
        code=Code.EMAIL_TAKEN,
    ),
]

_SECOND = password("second")
_RESET = c.ResetPassword(token("reset"), _SECOND)
_NEW_PASSWORD = {
    "password_hash": _SECOND.value,
    "credential_version": 2,
    "password_reset": None,
    "email_change": None,
    "email_verification": None,
}

_VERIFIED = {"email_verified": True, "email_verification": None}

PASSWORD = [
    Case(
        "a new password ends every session and invalidates all mailed tokens",
        c.ChangePassword(_SECOND, 1),
        ada(
            password_reset=out("reset"),
            email_change=_PENDING,
            email_verification=out("mail"),
        ),
        events=(e.PasswordChanged(2),),
        after=_NEW_PASSWORD,
    ),
    *(
        Case(
            f"a change decided on credential version {version} of 1 is stale",
            c.ChangePassword(_SECOND, version),
            code=Code.CREDENTIAL_STALE,
        )
        for version in (0, 2)
    ),
    Case(
        "a stronger hash of the same password ends no session",
        c.UpgradePasswordHash(_SECOND, 1),
        ada(password_hash_legacy=True, password_reset=out("reset"), email_change=_PENDING),
        events=(e.PasswordHashUpgraded(1),),
        after={"password_hash": _SECOND.value, "password_hash_legacy": False},
    ),
    Case("the same hash has no effect", c.UpgradePasswordHash(password("first"), 1)),
    Case(
        "a hash of an earlier password is stale",
        c.UpgradePasswordHash(_SECOND, 0),
        code=Code.CREDENTIAL_STALE,
    ),
    Case(
        "a user without a password has no hash to upgrade",
        c.UpgradePasswordHash(_SECOND, 0),
        ada(password_hash=None, credential_version=0),
        code=Code.CREDENTIAL_STALE,
    ),
    Case(
        "a reset token is valid for an hour at most",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), NOW + timedelta(hours=2)),
        events=(e.PasswordResetRequested(ADA.value, TOKEN_ID, NOW + timedelta(hours=1)),),
        after={"password_reset": out("reset", NOW + timedelta(hours=1))},
    ),
    Case(
        "a reset token that has expired is refused",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), NOW),
        code=Code.TOKEN_EXPIRED,
    ),
    Case(
        "an expired reset token is refused by an unknown address too",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), NOW, NEW),
        None,
        around={"user_id": None},
        code=Code.TOKEN_EXPIRED,
    ),
    Case(
        "a reset is asked for",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON),
        events=(e.PasswordResetRequested(ADA.value, TOKEN_ID, SOON),),
        after={"password_reset": out("reset")},
    ),
    Case(
        "a reset is asked for by address, in any letter case",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON, LOUD),
        around={"user_id": None},
        events=(e.PasswordResetRequested(ADA.value, TOKEN_ID, SOON),),
        after={"password_reset": out("reset")},
    ),
    Case(
        "a later reset replaces an earlier one",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON),
        ada(password_reset=out("earlier")),
        events=(e.PasswordResetRequested(ADA.value, TOKEN_ID, SOON),),
        after={"password_reset": out("reset")},
    ),
    Case(
        "a reset for an unknown address does not reveal that it is unknown",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON, NEW),
        None,
        around={"user_id": None},
    ),
    Case(
        "a reset for an address that is no longer the user's has no effect",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON, NEW),
        around={"user_id": None},
    ),
    Case(
        "a reset for an address whose owner was erased has no effect",
        c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON, ADA),
        erased(),
        around={"user_id": None},
    ),
    Case(
        "a reset sets the password, ends every session and forgets failures",
        _RESET,
        ada(password_reset=out("reset"), failed_logins=2),
        events=(e.PasswordReset(2), e.EmailVerified()),
        after={**_NEW_PASSWORD, **_VERIFIED, "failed_logins": 0},
    ),
    Case(
        "a reset for a verified address says nothing of it",
        _RESET,
        ada(password_reset=out("reset"), email_verified=True),
        events=(e.PasswordReset(2),),
        after=_NEW_PASSWORD,
    ),
    Case(
        "a reset cancels a change of the address that somebody else may have requested",
        _RESET,
        ada(password_reset=out("reset"), email_change=_PENDING),
        events=(e.PasswordReset(2), e.EmailVerified()),
        after={**_NEW_PASSWORD, **_VERIFIED},
    ),
    Case(
        "a reset removes a second factor that was enabled before the address was verified",
        _RESET,
        ada(
            password_reset=out("reset"),
            two_factor_enabled=True,
            two_factor_unverified=True,
            two_factor=second_factor("code"),
        ),
        events=(e.PasswordReset(2), e.EmailVerified(), e.TwoFactorDisabled()),
        after={
            **_NEW_PASSWORD,
            **_VERIFIED,
            "two_factor_enabled": False,
            "two_factor_unverified": False,
            "two_factor": None,
        },
    ),
    Case(
        "a reset keeps a second factor that the owner of the address enabled",
        _RESET,
        ada(
            password_reset=out("reset"),
            email_verified=True,
            two_factor_enabled=True,
            two_factor=second_factor("code"),
        ),
        events=(e.PasswordReset(2),),
        after=_NEW_PASSWORD,
    ),
    Case(
        "a reset makes the token of a verification mail needless",
        _RESET,
        ada(password_reset=out("reset"), email_verification=out("mail")),
        events=(e.PasswordReset(2), e.EmailVerified()),
        after={**_NEW_PASSWORD, **_VERIFIED},
    ),
    Case(
        "a reset lifts a lock and says so",
        _RESET,
        ada(password_reset=out("reset"), locked_until=SOON, lock_count=2),
        events=(e.PasswordReset(2), e.EmailVerified(), e.UserUnlocked()),
        after={**_NEW_PASSWORD, **_VERIFIED, "locked_until": None, "lock_count": 0},
    ),
    Case(
        "a reset gives a user without a password the first one",
        _RESET,
        ada(password_hash=None, credential_version=0, password_reset=out("reset")),
        events=(e.PasswordReset(1), e.EmailVerified()),
        after={**_NEW_PASSWORD, **_VERIFIED, "credential_version": 1},
    ),
    Case("a reset token is invalid where none is out", _RESET, code=Code.TOKEN_INVALID),
    Case(
        "another reset token is invalid",
        c.ResetPassword(token("wrong"), _SECOND),
        ada(password_reset=out("reset")),
        code=Code.TOKEN_INVALID,
    ),
    Case(
        "a reset token expires",
        _RESET,
        ada(password_reset=out("reset", NOW)),
        code=Code.TOKEN_EXPIRED,
    ),
    Case(
        "a reset by an unknown address is refused",
        c.ResetPassword(token("reset"), _SECOND, NEW),
        None,
        around={"user_id": None},
        code=Code.TOKEN_INVALID,
    ),
    Case(
        "a reset by an address that is no longer the user's is refused",
        c.ResetPassword(token("reset"), _SECOND, NEW),
        ada(password_reset=out("reset")),
        around={"user_id": None},
        code=Code.TOKEN_INVALID,
    ),
]

ROLES = [
    Case(
        "a role is added after the others",
        c.AssignRole("admin"),
        ada(roles=("customer",)),
        events=(e.RoleAssigned("admin"),),
        after={"roles": ("customer", "admin")},
    ),
    Case("a role that is there has no effect", c.AssignRole("admin"), ada(roles=("admin",))),
    Case(
        "a role is taken, the others stay",
        c.RevokeRole("admin"),
        ada(roles=("customer", "admin", "lab_assistant")),
        events=(e.RoleRevoked("admin"),),
        after={"roles": ("customer", "lab_assistant")},
    ),
    Case("a role that is not there has no effect", c.RevokeRole("admin")),
]

CASES = PROFILE + TERMS + VERIFICATION + EMAIL_CHANGE + PASSWORD + ROLES
