package certs

import (
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// maxTrustPage bounds what of a chain goes into one message, in bytes, but for
// one version, which may be larger. A chain of any length is walked page by page.
const maxTrustPage = 1 << 20

// TrustPage is what follows the version that somebody knows, 0 for none, as far as
// it goes into one message, and whether there is more.
func TrustPage(chain []*sitev1.TrustVersion, after uint64) (page []*sitev1.TrustVersion, more bool) {
	rest := chain[min(after, uint64(len(chain))):]
	size := 0
	for i, version := range rest {
		if size += proto.Size(version); size > maxTrustPage && i > 0 {
			return rest[:i:i], true
		}
	}
	return rest, false
}

// WalkTrust asks for page after page of a site's chain until there is no more, and
// verifies each when it comes: so that who answers can make nobody keep more than
// what the site has signed. known is what came before, nil for nothing. It returns
// what is new, and the bundle after it.
func WalkTrust(siteID string, known *Bundle, ask func(after uint64) (page []*sitev1.TrustVersion, more bool, err error)) ([]*sitev1.TrustVersion, *Bundle, error) {
	var walked []*sitev1.TrustVersion
	for {
		var after uint64
		if known != nil {
			after = known.Version()
		}
		page, more, err := ask(after)
		if err != nil {
			return nil, nil, err
		}
		if more && len(page) == 0 {
			return nil, nil, problem.New(problem.Invalid, "chain of trust", "there is more after version %d, but it did not come", after)
		}
		switch {
		case known == nil:
			known, err = VerifyTrust(siteID, page)
		default:
			known, err = known.Extend(page)
		}
		if err != nil {
			return nil, nil, err
		}
		if walked = append(walked, page...); !more {
			return walked, known, nil
		}
	}
}
