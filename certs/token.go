package certs

import (
	"encoding/base64"
	"regexp"
	"strings"

	"skerry.dev/shared/problem"
)

const (
	tokenPrefix = "skerry1"
	maxToken    = 1024
	secretBytes = 32
)

// siteIDForm: SiteID writes hex in lower case, and IDs are compared as text.
var siteIDForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Token is what a joiner needs: which site, pinned by its ID, and the secret.
// As text: skerry1.ROLE.SITE-ID.SITE.SECRET. The secret has one length and is
// last, so that a token that was not copied whole is noticed. The site's name
// may hold dots.
type Token struct {
	Site, SiteID string
	Role         string
	Secret       []byte
}

// String is the token in one word. It holds the secret: never log it.
func (t Token) String() string {
	return strings.Join([]string{tokenPrefix, t.Role, t.SiteID, t.Site, base64.RawURLEncoding.EncodeToString(t.Secret)}, ".")
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
	parts := strings.SplitN(text, ".", 4)
	if len(parts) != 4 || parts[0] != tokenPrefix {
		return Token{}, damaged("it is not a join token of Skerry, or a part of it is missing")
	}
	end := strings.LastIndexByte(parts[3], '.')
	if end < 0 {
		return Token{}, damaged("its end is missing")
	}
	token := Token{Role: parts[1], SiteID: parts[2], Site: parts[3][:end]}
	if token.Role != string(RoleNode) && token.Role != string(RoleOperator) {
		return Token{}, damaged("it names a role that this version does not know")
	}
	if !siteIDForm.MatchString(token.SiteID) {
		return Token{}, damaged("its site ID is damaged")
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(parts[3][end+1:])
	if err != nil || len(secret) != secretBytes {
		return Token{}, damaged("its end is missing or damaged")
	}
	token.Secret = secret
	if _, err := siteDomain(token.Site); err != nil {
		return Token{}, damaged("its site name is damaged")
	}
	return token, nil
}
