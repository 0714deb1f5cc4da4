"""Accounts with passwords, for those who have no issuer: copy this file and auth_config.py into your functions folder.

``sign_up`` and ``sign_in`` give a token. A client says it with ``set_auth`` (React: ``fetchAccessToken``), and from then on
``ctx.auth.get_user_identity()`` says who it is, in every function. ``sign_out`` ends the session, at once for every
connection that uses it. Passwords are kept as argon2id hashes, tokens as SHA-256 hashes.

People of other issuers can have a document in ``users``, too: ``store_user`` makes it when they come for the first time.

All that touches these tables are internal functions. So row rules need none for them: without, they are closed to all other
public functions.
"""

import hashlib
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from nbreactive import (
    AppError,
    Id,
    action,
    cron_jobs,
    define_schema,
    define_table,
    internal,
    internal_mutation,
    internal_query,
    mutation,
    query,
    v,
)

ISSUER = "accounts"
SESSION_MS = 30 * 24 * 3600 * 1000
SHORTEST, LONGEST = 8, 200
WINDOW_MS, PER_EMAIL, PER_ADDRESS = 15 * 60 * 1000, 5, 50
"""Failed attempts within a quarter of an hour, for one account and from one address."""

schema = define_schema(
    {
        "users": define_table(
            {
                "name": v.string(),
                "email": v.optional(v.string()),
                "passwordHash": v.optional(v.string()),
                "tokenIdentifier": v.string(),
                "createdAt": v.number(),
            }
        )
        .index("by_email", ["email"])
        .index("by_token", ["tokenIdentifier"]),
        "sessions": define_table({"userId": v.id("users"), "tokenHash": v.string(), "expiresAt": v.number()})
        .index("by_token_hash", ["tokenHash"])
        .index("by_expiry", ["expiresAt"]),
        "attempts": define_table({"key": v.string(), "failed": v.number(), "since": v.number()}).index(
            "by_key", ["key"]
        ),
    }
)

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_dummy: list[str] = []


# ---- what clients call --------------------------------------------------------------------------------------------


@action
def sign_up(ctx, email: str, password: str, name: str) -> dict:
    """Make an account, and sign in."""
    email, password = _email(email), _password(password)
    if not SHORTEST <= len(password) <= LONGEST:
        raise AppError({"code": "WEAK_PASSWORD", "message": f"a password has {SHORTEST} to {LONGEST} characters"})
    if not 0 < len(name.strip()) <= 100:
        raise AppError({"code": "NO_NAME", "message": "a name has 1 to 100 characters"})
    keys = _keys(ctx, email)
    _limited(ctx, keys)
    hashed = _hasher.hash(password)
    token = secrets.token_urlsafe(32)
    user = {"email": email, "name": name.strip(), "passwordHash": hashed}
    made = ctx.run_mutation(internal.accounts.create, user=user, token_hash=_hash(token), keys=keys)
    if made is None:
        raise AppError({"code": "CANNOT_SIGN_UP", "message": "no account can be made with this address"})
    return {"token": token, "userId": made}


@action
def sign_in(ctx, email: str, password: str) -> dict:
    """Open a session; what is wrong, the address or the password, is not told."""
    email, password = _email(email), _password(password)
    keys = _keys(ctx, email)
    _limited(ctx, keys)
    user = ctx.run_query(internal.accounts.by_email, email=email)
    kept = user.get("passwordHash") if user is not None else None
    if len(password) > LONGEST or not _verified(kept, password) or user is None:
        raise AppError({"code": "INVALID_CREDENTIALS", "message": "the address or the password is wrong"})
    token = secrets.token_urlsafe(32)
    better = _hasher.hash(password) if _hasher.check_needs_rehash(kept) else None
    ctx.run_mutation(
        internal.accounts.open_session, user_id=user["_id"], token_hash=_hash(token), password_hash=better, keys=keys
    )
    return {"token": token, "userId": user["_id"]}


@mutation
def sign_out(ctx, token: str) -> bool:
    """End a session; whoever uses it is nobody from now on. False: there is no such session (any more)."""
    return ctx.run_mutation(internal.accounts.close_session, token_hash=_hash(token))


@query
def current_user(ctx):
    """The document of who is signed in, or None."""
    identity = ctx.auth.get_user_identity()
    if identity is None:
        return None
    user = ctx.run_query(internal.accounts.by_token, token_identifier=identity["tokenIdentifier"])
    return user and {name: value for name, value in user.items() if name != "passwordHash"}


@mutation
def store_user(ctx):
    """Make a document for somebody who has signed in with an issuer, if there is none; returns its id."""
    identity = ctx.auth.get_user_identity()
    if identity is None:
        raise AppError({"code": "UNAUTHENTICATED", "message": "sign in first"})
    name = identity.get("name") or identity.get("email") or identity["subject"]
    return ctx.run_mutation(internal.accounts.store, name=name, token_identifier=identity["tokenIdentifier"])


# ---- what the backend asks: who holds a token? --------------------------------------------------------------------


@internal_query
def session(ctx, token: str):
    """Who holds a token (named in auth_config.py); asked again when anything that it reads changes."""
    found = ctx.db.query("sessions").with_index("by_token_hash", lambda q: q.eq("tokenHash", _hash(token))).unique()
    user = ctx.db.get(found["userId"]) if found is not None else None
    if found is None or user is None:
        return None
    return {"subject": user["_id"], "name": user["name"], "email": user.get("email"), "expires_at": found["expiresAt"]}


# ---- inside -------------------------------------------------------------------------------------------------------


@internal_query
def by_email(ctx, email: str):
    """The document of an account, hash and all."""
    return ctx.db.query("users").with_index("by_email", lambda q: q.eq("email", email)).unique()


@internal_query
def by_token(ctx, token_identifier: str):
    """The document of somebody, hash and all."""
    return ctx.db.query("users").with_index("by_token", lambda q: q.eq("tokenIdentifier", token_identifier)).unique()


@internal_mutation
def store(ctx, name: str, token_identifier: str):
    """Make a document without a password, if there is none."""
    user = by_token.handler(ctx, token_identifier)
    if user is not None:
        return user["_id"]
    return ctx.db.insert("users", {"name": name, "tokenIdentifier": token_identifier, "createdAt": ctx.now()})


@internal_mutation
def create(ctx, user: dict, token_hash: str, keys: list[str]):
    """Make an account with a session; None: there is one."""
    if by_email.handler(ctx, user["email"]) is not None:
        return None
    user_id = ctx.db.insert("users", {**user, "tokenIdentifier": "", "createdAt": ctx.now()})
    ctx.db.patch(user_id, {"tokenIdentifier": f"{ISSUER}|{user_id}"})
    ctx.db.insert("sessions", {"userId": user_id, "tokenHash": token_hash, "expiresAt": ctx.now() + SESSION_MS})
    _succeeded(ctx, keys)
    return user_id


@internal_mutation
def open_session(ctx, user_id: Id["users"], token_hash: str, password_hash: str | None, keys: list[str]):
    """Open a session; a hash by older parameters is replaced."""
    ctx.db.insert("sessions", {"userId": user_id, "tokenHash": token_hash, "expiresAt": ctx.now() + SESSION_MS})
    if password_hash is not None:
        ctx.db.patch(user_id, {"passwordHash": password_hash})
    _succeeded(ctx, keys)


@internal_mutation
def close_session(ctx, token_hash: str) -> bool:
    """End a session, if there is one."""
    found = ctx.db.query("sessions").with_index("by_token_hash", lambda q: q.eq("tokenHash", token_hash)).unique()
    if found is not None:
        ctx.db.delete(found["_id"])
    return found is not None


@internal_mutation
def attempt(ctx, keys: list[str], limits: list[int]) -> bool:
    """Count an attempt before it is made, so that many at once are many; says whether it may be."""
    found = [_attempts(ctx, key) for key in keys]
    recent = [one is not None and one["since"] >= ctx.now() - WINDOW_MS for one in found]
    if any(new and one["failed"] >= limit for one, new, limit in zip(found, recent, limits, strict=True)):
        return False
    for key, one, new in zip(keys, found, recent, strict=True):
        if one is None:
            ctx.db.insert("attempts", {"key": key, "failed": 1, "since": ctx.now()})
        else:
            ctx.db.patch(one["_id"], {"failed": one["failed"] + 1} if new else {"failed": 1, "since": ctx.now()})
    return True


@internal_mutation
def sweep(ctx):
    """Delete what is over."""
    over = ctx.db.query("sessions").with_index("by_expiry", lambda q: q.lt("expiresAt", ctx.now())).take(1000)
    old = ctx.db.query("attempts").filter(lambda q: q.field("since") < ctx.now() - WINDOW_MS).take(1000)
    for document in over + old:
        ctx.db.delete(document["_id"])


crons = cron_jobs()
crons.hourly("sessions and attempts that are over", internal.accounts.sweep, minute_utc=17)


def _attempts(ctx, key):
    return ctx.db.query("attempts").with_index("by_key", lambda q: q.eq("key", key)).unique()


def _keys(ctx, email):
    return [f"email {email}", f"address {ctx.meta.get_request_metadata()['ip']}"]


def _limited(ctx, keys):
    if not ctx.run_mutation(internal.accounts.attempt, keys=keys, limits=[PER_EMAIL, PER_ADDRESS]):
        raise AppError({"code": "TOO_MANY_ATTEMPTS", "message": "too many attempts; try again in a quarter of an hour"})


def _succeeded(ctx, keys):
    """What came to a good end was no failure."""
    by_email, by_address = (_attempts(ctx, key) for key in keys)
    if by_email is not None:
        ctx.db.delete(by_email["_id"])
    if by_address is not None:
        ctx.db.patch(by_address["_id"], {"failed": max(by_address["failed"] - 1, 0)})


def _verified(kept, password):
    if not _dummy:
        _dummy.append(_hasher.hash(secrets.token_hex(16)))
    try:  # as long for an address that nobody has
        return _hasher.verify(kept or _dummy[0], password) and kept is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


def _hash(token):
    return hashlib.sha256(token.encode()).hexdigest()


def _email(email):
    email = unicodedata.normalize("NFKC", email).strip().casefold()
    if not 3 <= len(email) <= 254 or email.count("@") != 1 or any(each.isspace() for each in email):
        raise AppError({"code": "NO_ADDRESS", "message": "this is no e-mail address"})
    return email


def _password(password):
    return unicodedata.normalize("NFC", password)
