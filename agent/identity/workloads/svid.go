package workloads

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// SVID is the identity of one placement. It is immutable.
type SVID struct {
	// ID is the SPIFFE ID.
	ID string
	// Key is PKCS #8, Chain are certificates, leaf first; both DER.
	Key   []byte
	Chain [][]byte
	// Leaf is the first of the chain.
	Leaf *x509.Certificate
}

// key of a placement among all of the node.
func key(project, placement string) string { return project + "." + placement }

func keyOf(p *skerryv1.Placement) string { return key(p.GetProject(), p.GetName()) }

// IDOf is the SPIFFE ID that a placement's SVID must have.
func IDOf(site string, p *skerryv1.Placement) string {
	return "spiffe://" + site + "/workload/" + p.GetProject() + "/" + p.GetWorkload()
}

// draft is a key that was made and the request that goes with it.
type draft struct {
	placement *skerryv1.Placement
	key, csr  []byte
	public    *ecdsa.PublicKey
}

func newDraft(rand env.Rand, p *skerryv1.Placement) (*draft, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, err
	}
	d := &draft{placement: p, public: &private.PublicKey}
	if d.key, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return nil, err
	}
	d.csr, err = certs.NewJoinRequest(rand, private)
	return d, err
}

// accept checks what a voter issued: it must be what was asked for, by a CA
// that this node trusts.
func (d *draft) accept(chain [][]byte, bundle *certs.Bundle) (*SVID, error) {
	s, err := newSVID(d.key, chain)
	if err != nil {
		return nil, err
	}
	peer, err := certs.VerifyPeer([]*x509.Certificate{s.Leaf}, bundle, s.Leaf.NotBefore)
	if err != nil {
		return nil, err
	}
	if wanted := IDOf(bundle.Site(), d.placement); peer.ID.String() != wanted {
		return nil, fmt.Errorf("it is for %s, asked was for %s", peer.ID, wanted)
	}
	if public, ok := s.Leaf.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(d.public) {
		return nil, fmt.Errorf("it is for another key")
	}
	return s, nil
}

func newSVID(key []byte, chain [][]byte) (*SVID, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("there is no certificate")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	if len(leaf.URIs) != 1 {
		return nil, fmt.Errorf("it has %d SPIFFE IDs", len(leaf.URIs))
	}
	return &SVID{ID: leaf.URIs[0].String(), Key: key, Chain: chain, Leaf: leaf}, nil
}

func (s *SVID) encode(p *skerryv1.Placement) ([]byte, error) {
	return proto.Marshal(&sitev1.WorkloadSvid{
		Project: p.GetProject(), Placement: p.GetName(), Key: s.Key, Svid: s.Chain,
	})
}

func decode(encoded []byte) (string, *SVID, error) {
	kept := &sitev1.WorkloadSvid{}
	if err := proto.Unmarshal(encoded, kept); err != nil {
		return "", nil, err
	}
	s, err := newSVID(kept.GetKey(), kept.GetSvid())
	if err != nil {
		return "", nil, err
	}
	return key(kept.GetProject(), kept.GetPlacement()), s, nil
}
