package state

import (
	"crypto/sha256"
	"encoding/hex"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxTokens: one for each node that a site can have.
	maxTokens    = maxNodes
	nodeRole     = "node"
	operatorRole = "operator"
)

var tokens = table[*sitev1.TokenRecord]{
	name:    "tokens",
	key:     func(t *sitev1.TokenRecord) string { return t.GetToken().GetToken().GetId() },
	indexes: map[string]func(*sitev1.TokenRecord) string{"hash": tokenHash},
	ordinal: tokensOrdinal,
}

func tokenHash(t *sitev1.TokenRecord) string { return hex.EncodeToString(t.GetToken().GetSecretHash()) }

func (x *tx) createToken(change *sitev1.CreateToken) (*sitev1.Outcome, error) {
	token := change.GetToken()
	about := "token " + bounded(token.GetId(), maxName)
	if !isName(token.GetId(), maxName) || len(change.GetSecretHash()) != sha256.Size {
		return nil, problem.New(problem.Invalid, about, "a token needs an ID and the SHA-256 of its secret")
	}
	if err := checkTokenGrant(about, change); err != nil {
		return nil, err
	}
	if !later(token.GetExpires(), x.time) {
		return nil, problem.New(problem.Invalid, about, "it would have expired already").WithField("ttl")
	}
	record := &sitev1.TokenRecord{Token: change}
	if tokens.get(x.rows, token.GetId()) != nil || len(tokens.by(x.rows, "hash", tokenHash(record))) > 0 {
		return nil, problem.New(problem.Conflict, about, "there is such a token already")
	}
	if x.counts[tokensOrdinal] >= maxTokens {
		x.forgetExpiredTokens()
	}
	if x.counts[tokensOrdinal] >= maxTokens {
		return nil, exhausted("tokens that have not expired", maxTokens)
	}
	tokens.put(x, record)
	x.inform(subject{kind: "Token", name: token.GetId()}, "TokenCreated", "for role %s, until %s",
		token.GetRole(), token.GetExpires().AsTime().Format("2006-01-02 15:04:05 MST"))
	return &sitev1.Outcome{}, nil
}

// checkTokenGrant looks at what the joiner would get.
func checkTokenGrant(about string, change *sitev1.CreateToken) error {
	token := change.GetToken()
	if err := checkGrants(about, change.GetGrants()); err != nil {
		return err
	}
	switch token.GetRole() {
	case nodeRole:
		if len(change.GetGrants()) > 0 {
			return problem.New(problem.Invalid, about, "nodes have no roles").WithField("grants")
		}
		if token.GetName() != "" {
			if err := checkNodeName(token.GetName()); err != nil {
				return err
			}
		}
	case operatorRole:
		if err := checkName("Operator", token.GetName()); err != nil {
			return err
		}
	default:
		return problem.New(problem.Invalid, about, "the role is %q, not node or operator", bounded(token.GetRole(), maxName)).WithField("role")
	}
	if len(change.GetZone()) > maxZone {
		return problem.New(problem.Invalid, about, "the zone is longer than %d characters", maxZone).WithField("zone")
	}
	return checkLabels(about, change.GetLabels())
}

func (x *tx) forgetExpiredTokens() {
	for _, t := range tokens.list(x.rows) {
		if !later(t.GetToken().GetToken().GetExpires(), x.time) {
			tokens.remove(x, t.GetToken().GetToken().GetId())
		}
	}
}
