package certs

import (
	"fmt"
	"regexp"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// siteName is stricter than SPIFFE's rule for trust domains: the name also
// becomes that of a folder, so there are no dots at its ends and none in a row.
var siteName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// maxSiteName in bytes.
const maxSiteName = 63

// siteDomain is the trust domain of the site with this name.
func siteDomain(name string) (spiffeid.TrustDomain, error) {
	if len(name) > maxSiteName || !siteName.MatchString(name) {
		return spiffeid.TrustDomain{}, fmt.Errorf("%.80q cannot be the name of a site: at most %d of a-z, 0-9, - and ., "+
			"each part with a letter or digit at both ends", name, maxSiteName)
	}
	return spiffeid.TrustDomainFromString(name)
}
