package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// renewTime bounds one node's answer.
	renewTime = 5 * time.Second
	// maxRenewAsked nodes are asked for one renewal.
	maxRenewAsked = 16
)

// Renewable is an identity that the site renews: a node's or an operator's.
type Renewable interface {
	mtls.Learner
	// Renewed takes over a new SVID, durably.
	Renewed(svid [][]byte) error
}

// Renew asks nodes, one after the other, for a new SVID of the same ID and key,
// on the protocol where only the key counts. Unless it is due, they issue one
// only when they find that the present one does not do: the first that does is
// believed, since one that has been cut off knows less than who refused it. Renew
// tells whether there is a new SVID.
func Renew(ctx context.Context, system env.System, who Renewable, addresses []string, due bool) (bool, error) {
	cert := who.Certificate()
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return false, problem.New(problem.Internal, "identity", "the key is not an ECDSA key")
	}
	csr, err := certs.NewJoinRequest(system.Rand, key)
	if err != nil {
		return false, err
	}
	request := &sitev1.RenewRequest{Csr: csr}
	if !due && len(cert.Certificate) > 0 {
		request.Present = cert.Certificate[0]
	}
	dialer := &mtls.Dialer{Net: system.Net, Source: who}
	client := dialer.HTTPClient(mtls.Renew, mtls.ExpectNode(""))
	defer client.CloseIdleConnections()
	var failures []error
	asked, fine := map[string]bool{}, false
	for queue := addresses; len(queue) > 0 && len(asked) < maxRenewAsked && ctx.Err() == nil; {
		address := queue[0]
		queue = queue[1:]
		if asked[address] {
			continue
		}
		asked[address] = true
		answer, err := renewAt(ctx, client, address, who, request)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if len(answer.GetRedirect()) > 0 {
			queue = append(answer.GetRedirect(), queue...)
			continue
		}
		renewed, err := take(who, cert, answer)
		switch {
		case problem.KindOf(err) == problem.Conflict:
			failures = append(failures, err) // its CA retires
		case err == nil && !renewed:
			fine = true
		default:
			return renewed, err
		}
	}
	if fine {
		return false, nil
	}
	if len(failures) == 0 {
		failures = append(failures, errors.New("no node of the site is known"))
	}
	return false, problem.New(problem.Unavailable, "identity", "no voter has renewed it: %w", errors.Join(failures...))
}

// maxRenewAnswer in bytes: a page of the chain of trust, and an SVID.
const maxRenewAnswer = 8 << 20

// renewAt asks one node, and again for as long as there is more of the chain of
// trust: nothing is issued before.
func renewAt(ctx context.Context, client connect.HTTPClient, address string, who Renewable, request *sitev1.RenewRequest) (*sitev1.RenewResponse, error) {
	service := sitev1connect.NewRenewServiceClient(client, "https://"+address, connect.WithReadMaxBytes(maxRenewAnswer))
	for {
		request.After = who.Bundle().Version()
		answer, err := renewOnce(ctx, service, request)
		if err != nil || !answer.GetMore() {
			return answer, err
		}
		if err := who.UpdateTrust(answer.GetTrust()); err != nil {
			return nil, err
		}
		if who.Bundle().Version() == request.GetAfter() {
			return nil, problem.New(problem.Invalid, "chain of trust", "there is more after version %d, but it did not come", request.GetAfter())
		}
	}
}

func renewOnce(ctx context.Context, service sitev1connect.RenewServiceClient, request *sitev1.RenewRequest) (*sitev1.RenewResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	answer, err := service.Renew(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	return answer.Msg, nil
}

// take makes sure that the answer is usable, then stores it.
func take(who Renewable, before *tls.Certificate, answer *sitev1.RenewResponse) (bool, error) {
	if err := who.UpdateTrust(answer.GetTrust()); err != nil {
		return false, err
	}
	if len(answer.GetSvid()) == 0 {
		return false, nil
	}
	chain, err := parseLeaf(answer.GetSvid())
	if err != nil {
		return false, problem.New(problem.Internal, "identity", "the new SVID does not parse: %w", err)
	}
	peer, err := certs.VerifyPeer(chain, who.Bundle(), timeless)
	if err != nil {
		return false, err
	}
	if want := before.Leaf.URIs[0].String(); peer.ID.String() != want {
		return false, problem.New(problem.Internal, "identity", "the new SVID is for %s, not for %s", peer.ID, want)
	}
	if string(peer.KeyFingerprint) != string(certs.Fingerprint(before.Leaf.PublicKey)) {
		return false, problem.New(problem.Internal, "identity", "the new SVID is of another key")
	}
	return true, who.Renewed(answer.GetSvid())
}

// Renewed implements Renewable. What a CA issued that retires is not taken.
func (n *Node) Renewed(svid [][]byte) error {
	leaf, err := x509.ParseCertificate(svid[0])
	if err != nil {
		return err
	}
	authority := issuerOf(leaf, n.Bundle())
	if authority == nil {
		return problem.New(problem.Conflict, "identity", "the CA that issued the new SVID counts no more")
	}
	return n.gate.Take(authority, func() error {
		n.writing.Lock()
		defer n.writing.Unlock()
		cert, err := storeSVID(n.fs, n.dir, *n.Certificate(), svid, leaf)
		if err == nil {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.cert, n.print = cert, certs.Fingerprint(leaf.PublicKey)
		}
		return err
	})
}

// Renewed implements Renewable. Several commands may do it at once: each file is
// written whole, the key stays the same, and any of the SVIDs does.
func (o *Operator) Renewed(svid [][]byte) error {
	leaf, err := x509.ParseCertificate(svid[0])
	if err != nil {
		return err
	}
	o.writing.Lock()
	defer o.writing.Unlock()
	cert, err := storeSVID(o.files, o.dir, *o.Certificate(), svid, leaf)
	if err == nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.cert = cert
	}
	return err
}

// Due tells whether the SVID is to be renewed: it has run for half of its life,
// or time was set back to before it begins.
func (n *Node) Due() bool {
	now := n.time.Read()
	return now.Known() && n.Bundle().Due(n.Leaf(), now.Time)
}

// Due is likewise for an operator's. Nobody tells operators that a CA retires, so
// that each command asks again while the SVID begins only later.
func (o *Operator) Due() bool {
	leaf, now := o.Certificate().Leaf, o.time.Read()
	return now.Known() && (certs.Due(leaf, now.Time) || leaf.NotBefore.After(now.Time))
}

func storeSVID(files env.FS, dir string, present tls.Certificate, svid [][]byte, leaf *x509.Certificate) (tls.Certificate, error) {
	if err := files.WriteFile(filepath.Join(dir, svidFile), encodeCerts(svid...), filePerm); err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: svid, PrivateKey: present.PrivateKey, Leaf: leaf}, nil
}
