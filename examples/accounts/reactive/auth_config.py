auth_config = {
    "providers": [
        {"type": "session", "issuer": "accounts", "function": "accounts:session"},
    ]
}
