package identity

import (
	"crypto/tls"
	"encoding/json"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

const (
	siteFile = "site.json"
	timeFile = "time.pb"
	// timeEvery is how far site time must have gone on to be kept again.
	timeEvery = time.Hour
	// maxAddresses are remembered.
	maxAddresses = 32
)

// Operator is an operator's credentials for one site: a directory that also
// curl can use (svid.pem, key.pem, ca.pem). It implements mtls.Learner.
type Operator struct {
	// Addresses of nodes, host:port, to try in this order.
	Addresses []string

	time  *sitetime.Keeper
	files env.FS
	dir   string

	// writing is held while the disk is written, mu never is.
	writing sync.Mutex
	mu      sync.Mutex
	cert    tls.Certificate
	chain   []*sitev1.TrustVersion
	bundle  *certs.Bundle
}

// operatorSite is what site.json holds.
type operatorSite struct {
	Site      string   `json:"site"`
	Addresses []string `json:"addresses"`
}

// LoadOperator reads the credentials for a site below home; an empty site
// means the only one there is.
func LoadOperator(system env.System, home, site string) (*Operator, error) {
	if site == "" {
		only, err := onlySite(system.FS, home)
		if err != nil {
			return nil, err
		}
		site = only
	}
	dir := filepath.Join(home, site)
	var o operatorSite
	encoded, err := system.FS.ReadFile(filepath.Join(dir, siteFile))
	if err == nil {
		err = json.Unmarshal(encoded, &o)
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, dir, "there are no usable credentials for site %s: %w", site, err).
			WithHint("skerry join TOKEN ADDRESS with an operator's token")
	}
	cert, chain, bundle, err := loadCredentials(system.FS, dir)
	if err != nil {
		return nil, problem.New(problem.Invalid, dir, "the credentials for site %s cannot be read: %w", site, err).
			WithHint("skerry join TOKEN ADDRESS with a new operator's token")
	}
	return &Operator{
		Addresses: o.Addresses, cert: cert, files: system.FS, dir: dir, chain: chain, bundle: bundle,
		time: sitetime.NewKeeper(system.Clock, loadTime(system.FS, dir), time.Time{}),
	}, nil
}

func onlySite(files env.FS, home string) (string, error) {
	names, err := files.ReadDir(home)
	if err != nil {
		return "", problem.New(problem.Invalid, home, "it cannot be read: %w", err)
	}
	var sites []string
	for _, name := range names {
		if _, err := files.ReadFile(filepath.Join(home, name, siteFile)); err == nil {
			sites = append(sites, name)
		}
	}
	switch len(sites) {
	case 0:
		return "", problem.New(problem.Unauthenticated, home, "there are no credentials for any site").
			WithHint("on a new site: skerry site init NAME; else ask an operator for a token and run: skerry join TOKEN ADDRESS")
	case 1:
		return sites[0], nil
	default:
		return "", problem.New(problem.Invalid, home, "there are credentials for several sites: %v", sites).
			WithHint("choose one with --site NAME")
	}
}

// Remember keeps the addresses of voters for the next time, before those that
// are known. Nothing is written when they are known already.
func (o *Operator) Remember(voters []string) error {
	known := slices.Clone(voters)
	for _, address := range o.Addresses {
		if !slices.Contains(known, address) {
			known = append(known, address)
		}
	}
	if !slices.ContainsFunc(voters, func(v string) bool { return !slices.Contains(o.Addresses, v) }) {
		return nil
	}
	return storeSite(o.files, o.dir, o.Site(), known)
}

// storeSite writes where the site is found; last, because it is what
// LoadOperator looks for.
func storeSite(files env.FS, dir, site string, addresses []string) error {
	addresses = slices.Compact(addresses)
	encoded, err := json.MarshalIndent(operatorSite{Site: site, Addresses: addresses[:min(len(addresses), maxAddresses)]}, "", "  ")
	if err != nil {
		return err
	}
	return files.WriteFile(filepath.Join(dir, siteFile), append(encoded, '\n'), filePerm)
}

// Name of the operator.
func (o *Operator) Name() string { return path.Base(o.Certificate().Leaf.URIs[0].Path) }

// Site is the name of the site.
func (o *Operator) Site() string { return o.Bundle().Site() }

// Certificate implements mtls.Source.
func (o *Operator) Certificate() *tls.Certificate {
	o.mu.Lock()
	defer o.mu.Unlock()
	cert := o.cert
	return &cert
}

// Bundle implements mtls.Source.
func (o *Operator) Bundle() *certs.Bundle {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bundle
}

// Now implements mtls.Source: the newest site time that was heard of.
func (o *Operator) Now() time.Time { return o.time.Now() }

// LearnTime keeps what a node of the site says the time is.
func (o *Operator) LearnTime(now time.Time, era uint64) error {
	o.time.Observe(sitetime.Stamp{Time: now, Era: era})
	if kept := loadTime(o.files, o.dir); kept.Era == era && now.Sub(kept.Time) < timeEvery {
		return nil
	}
	return storeTime(o.files, o.dir, sitetime.Stamp{Time: now, Era: era})
}

func storeTime(files env.FS, dir string, stamp sitetime.Stamp) error {
	encoded, err := proto.Marshal(stamp.Message())
	if err != nil {
		return err
	}
	return files.WriteFile(filepath.Join(dir, timeFile), encoded, filePerm)
}

// loadTime is the zero stamp when there is none: then nothing has expired.
func loadTime(files env.FS, dir string) sitetime.Stamp {
	encoded, err := files.ReadFile(filepath.Join(dir, timeFile))
	message := &sitev1.SiteClock{}
	if err != nil || proto.Unmarshal(encoded, message) != nil {
		return sitetime.Stamp{}
	}
	return sitetime.FromMessage(message)
}

// UpdateTrust implements mtls.Learner.
func (o *Operator) UpdateTrust(versions []*sitev1.TrustVersion) error {
	o.writing.Lock()
	defer o.writing.Unlock()
	known := o.Bundle()
	chain, bundle, err := known.Continue(o.chain, versions) // written only here
	if err != nil || bundle == known {
		return err
	}
	if err := storeTrust(o.files, o.dir, chain, bundle); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.chain, o.bundle = chain, bundle
	o.time.Forget(bundle.TimeEra())
	return nil
}
