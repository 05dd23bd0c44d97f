//! The words that make a key secret.

/// How a rule may begin within a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// At the start of a word.
    Word,
    /// Also inside a word, so that `accesstoken` and `userpassword` match.
    Inside,
}

/// How a rule may end within a key. A plural `s` is allowed everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// At the end of a word.
    Word,
    /// At the end of the key: `card_pin`, but not `pin_count`.
    Key,
}

/// How much of a text belongs to the value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// One value.
    Value,
    /// The rest of the line, as for HTTP headers with a grammar of their own.
    Line,
}

/// Where in a key a rule must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// Anywhere, as far as the rule itself allows it.
    Key,
    /// At the end of the key only: words of prose before a colon are hardly a key.
    KeyEnd,
}

/// Words without boundaries (`apikey`), since `api key`, `apiKey` and `apikey` are one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) flat: Box<str>,
    pub(super) tail: Tail,
    pub(super) reach: Reach,
}

/// The words that make a key secret, wherever they stand in it as whole words.
pub(super) const WORD_KEYS: [&str; 76] = [
    "2fa code",
    "aes key",
    "amz signature",
    "app key",
    "application key",
    "auth",
    "backup code",
    "bearer",
    "card no",
    "card num",
    "card verification",
    "cc number",
    "client key",
    "connect sid",
    "credit card",
    "csrf",
    "cvc",
    "cvn",
    "cvv",
    "db pass",
    "debit card",
    "driver license",
    "driver licence",
    "drivers license",
    "drivers licence",
    "driving licence",
    "driving license",
    "functions key",
    "goog signature",
    "hmac key",
    "iban",
    "jwt",
    "master auth",
    "mfa code",
    "national id",
    "national insurance",
    "oauth",
    "one time code",
    "passport",
    "passport number",
    "pg pass",
    "recovery code",
    "recovery phrase",
    "require pass",
    "root pass",
    "routing number",
    "security answer",
    "security code",
    "seed phrase",
    "server key",
    "shared access signature",
    "shared key",
    "smtp pass",
    "social security",
    "social security number",
    "sort code",
    "ssn",
    "subscription key",
    "symmetric key",
    "tax id",
    "tax id number",
    "tax number",
    "unseal key",
    "user pass",
    "verification code",
    "xsrf",
    "contrasena",
    "contraseña",
    "mot de passe",
    "senha",
    "wachtwoord",
    "пароль",
    "密码",
    "密碼",
    "パスワード",
    "비밀번호",
];

/// Words that no harmless word ends with, so that they count inside a word too.
pub(super) const INSIDE_KEYS: [&str; 25] = [
    "access key",
    "account key",
    "account number",
    "api key",
    "auth key",
    "card number",
    "credential",
    "encryption key",
    "kennwort",
    "master key",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "password hash",
    "passwort",
    "private key",
    "pswd",
    "pwd",
    "secret",
    "secret key",
    "sess id",
    "session id",
    "signing key",
    "token",
];

/// Words that are secret as the last word of a key and harmless elsewhere (`boarding_pass_count`).
pub(super) const LAST_KEYS: [&str; 7] = ["otp", "pass", "pin", "pin code", "pw", "sig", "totp"];

/// Headers whose value is the whole rest of the line.
pub(super) const LINE_KEYS: [&str; 2] = ["authorization", "cookie"];

/// Phrases in which a secret word is harmless: what is counted, limited or dated is no secret.
pub(super) const HARMLESS_PHRASES: [&str; 35] = [
    "cached tokens",
    "completion tokens",
    "input tokens",
    "max new tokens",
    "max tokens",
    "min tokens",
    "num tokens",
    "output tokens",
    "password attempts",
    "password changed",
    "password expired",
    "password expires",
    "password length",
    "password policy",
    "password updated",
    "prompt tokens",
    "reasoning tokens",
    "remaining tokens",
    "token budget",
    "token count",
    "token expires",
    "token expiration",
    "token expiry",
    "token length",
    "token limit",
    "token price",
    "token type",
    "token usage",
    "tokens count",
    "tokens limit",
    "tokens per",
    "tokens remaining",
    "tokens used",
    "total tokens",
    "used tokens",
];
