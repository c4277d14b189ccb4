package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"runtime"
	"time"

	"skerry.dev/certs"
)

const (
	svidRounds = 10
	svidRound  = 500 * time.Millisecond
)

// svid measures how many SVIDs one core issues in a second, each checked as the
// issuing voter checks it: the request's signature, then the certificate made.
func svid(ctx context.Context, _, _ string) (result, error) {
	runtime.GOMAXPROCS(1)
	authority, err := certs.NewAuthority(rand.Reader, "bench", "n1", time.Now())
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := certs.NewJoinRequest(rand.Reader, key)
	if err != nil {
		return nil, err
	}
	var rates []float64
	var last []byte
	for round := range svidRounds {
		count, begun := 0, time.Now()
		for time.Since(begun) < svidRound && ctx.Err() == nil {
			public, err := certs.CheckJoinRequest(csr)
			if err != nil {
				return nil, err
			}
			if last, err = authority.IssueNode(certs.NodeRequest{Name: "n1", PublicKey: public, Addresses: []string{"10.0.0.1:7600"}}, time.Now()); err != nil {
				return nil, err
			}
			count++
		}
		rates = append(rates, float64(count)/time.Since(begun).Seconds())
		progress("round %d: %.0f SVIDs/s", round+1, rates[round])
	}
	if _, err := x509.ParseCertificate(last); err != nil {
		return nil, err
	}
	return summary(rates, "SVIDs/s on one core"), ctx.Err()
}
