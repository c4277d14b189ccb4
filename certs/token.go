package certs

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"skerry.dev/shared/problem"
)

const (
	tokenPrefix = "skerry1"
	maxToken    = 1024
	secretBytes = 32
)

// Token is what a joiner needs: which site, pinned by its ID, and the secret.
// As text: skerry1.ROLE.SITE-ID.SECRET.SITE, with the site last because its
// name may hold dots.
type Token struct {
	Site, SiteID string
	Role         string
	Secret       []byte
}

// String is the token in one word. It holds the secret: never log it.
func (t Token) String() string {
	return strings.Join([]string{tokenPrefix, t.Role, t.SiteID, base64.RawURLEncoding.EncodeToString(t.Secret), t.Site}, ".")
}

// ParseToken reads what String wrote.
func ParseToken(text string) (Token, error) {
	damaged := func(what string) error {
		return problem.New(problem.Invalid, "token", "%s", what).
			WithHint("copy it whole, or ask for a new one: skerry token create")
	}
	text = strings.TrimSpace(text)
	if len(text) > maxToken {
		return Token{}, damaged("it is too long")
	}
	parts := strings.SplitN(text, ".", 5)
	if len(parts) != 5 || parts[0] != tokenPrefix {
		return Token{}, damaged("it is not a join token of Skerry, or a part of it is missing")
	}
	token := Token{Role: parts[1], SiteID: parts[2], Site: parts[4]}
	if token.Role != string(RoleNode) && token.Role != string(RoleOperator) {
		return Token{}, damaged("it names a role that this version does not know")
	}
	if id, err := hex.DecodeString(token.SiteID); err != nil || len(id) != 32 {
		return Token{}, damaged("its site ID is damaged")
	}
	secret, err := base64.RawURLEncoding.DecodeString(parts[3])
	if err != nil || len(secret) != secretBytes {
		return Token{}, damaged("its secret is damaged")
	}
	token.Secret = secret
	if _, err := spiffeid.TrustDomainFromString(token.Site); err != nil {
		return Token{}, damaged("its site name is damaged")
	}
	return token, nil
}
