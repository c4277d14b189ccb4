package workloads

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/throttle"
)

const (
	// maxTokens are kept, for as many placements and audiences together.
	maxTokens = 1024
	// tokenTime bounds one round of asking voters for one.
	tokenTime = 5 * time.Second
)

// tokenLimits are what the programs of one placement may cost the voters.
var tokenLimits = throttle.Limits{PerSecond: 10, Burst: 50, Running: 8, Callers: 4096}

// Token is a JWT-SVID of a placement.
type Token struct{ ID, JWT string }

// TokensConfig of a keeper of tokens. All fields are required.
type TokensConfig struct {
	Site Site
	// Ask asks a voter.
	Ask func(context.Context, *sitev1.IssueJwtSvidRequest) (*sitev1.IssueJwtSvidResponse, error)
	Env env.System
}

// Tokens has voters issue JWT-SVIDs and keeps them, in memory, until they expire:
// a node that is cut off gives out what it has. It is safe for concurrent use.
type Tokens struct {
	TokensConfig
	throttle *throttle.Throttle

	mu   sync.Mutex
	held map[string]held
}

// held is a token with what decides how long it serves.
type held struct {
	token   Token
	keyID   string
	expires time.Time
}

// NewTokens keeps none yet.
func NewTokens(config TokensConfig) *Tokens {
	return &Tokens{TokensConfig: config, throttle: throttle.New(tokenLimits, config.Env.Clock), held: map[string]held{}}
}

// Token for an audience. A kept one serves for half of its life, and for all of
// it while no voter issues another.
func (t *Tokens) Token(ctx context.Context, p *skerryv1.Placement, audience []string) (Token, error) {
	if err := certs.CheckAudience(audience); err != nil {
		return Token{}, err
	}
	// No audience holds a zero byte.
	of := keyOf(p) + "\x00" + strings.Join(audience, "\x00")
	kept, counts := t.kept(of, p)
	if counts && kept.expires.Sub(t.Site.Now()) > certs.JwtLifetime/2 {
		return kept.token, nil
	}
	next, err := t.issue(ctx, p, audience)
	if err == nil {
		t.keep(of, next)
		return next.token, nil
	}
	if counts {
		return kept.token, nil
	}
	if problem.KindOf(err) == problem.Exhausted {
		return Token{}, err
	}
	return Token{}, problem.New(problem.Unavailable, "Placement/"+p.GetName(), "no voter issues it a JWT-SVID now, and it has none left that counts: %w", err).
		WithHint("X.509-SVIDs go on counting on a node that is alone; skerry status tells whether the site has a quorum")
}

// kept is what there is, and whether it counts: until it expires, its key leaves
// the chain of trust, or its placement is that of another workload.
func (t *Tokens) kept(of string, p *skerryv1.Placement) (held, bool) {
	bundle, now := t.Site.Bundle(), t.Site.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, ok := t.held[of]
	return kept, ok && now.Before(kept.expires) && bundle.JwtKey(kept.keyID) != nil && kept.token.ID == IDOf(bundle.Site(), p)
}

func (t *Tokens) issue(ctx context.Context, p *skerryv1.Placement, audience []string) (held, error) {
	leave, _, err := t.throttle.Enter("Placement/" + p.GetName())
	if err != nil {
		return held{}, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	response, err := t.Ask(ctx, &sitev1.IssueJwtSvidRequest{Project: p.GetProject(), Placement: p.GetName(), Audience: audience})
	if err != nil {
		return held{}, err
	}
	bundle := t.Site.Bundle()
	svid, err := bundle.ValidateJwt(response.GetToken(), audience[0], t.Site.Now())
	if err == nil && svid.ID.String() != IDOf(bundle.Site(), p) {
		err = problem.New(problem.Internal, "JWT-SVID", "it is of %s", svid.ID)
	}
	if err != nil {
		return held{}, problem.New(problem.Unavailable, "JWT-SVID", "what a voter issued is not usable: %s", err)
	}
	return held{
		token: Token{ID: svid.ID.String(), JWT: response.GetToken()}, keyID: svid.KeyID, expires: svid.Expires,
	}, nil
}

// keep a token; when there are too many, those that end first go.
func (t *Tokens) keep(of string, next held) {
	now := t.Site.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held[of] = next
	if len(t.held) <= maxTokens {
		return
	}
	var names []string
	for name, h := range t.held {
		if !now.Before(h.expires) {
			delete(t.held, name)
		} else {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(t.held[a].expires.Compare(t.held[b].expires), cmp.Compare(a, b)) })
	for _, name := range names[:max(0, len(names)-maxTokens)] {
		delete(t.held, name)
	}
}
