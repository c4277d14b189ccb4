package agent

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/identity/workloadapi"
	"skerry.dev/agent/identity/workloads"
	"skerry.dev/agent/seal"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxVotersAsked in one round.
	maxVotersAsked = 3
	// maxIssued bounds what a voter answers, in bytes.
	maxIssued = 1 << 20
)

func (a *Agent) openWorkloads(sync connect.HTTPClient) (*workloads.Keeper, error) {
	dir := identity.Dir(a.Config.StateDir)
	sealer, err := seal.Open(a.Env.FS, a.Env.Rand, dir)
	if err != nil {
		return nil, err
	}
	return workloads.Open(workloads.Config{
		Dir: filepath.Join(dir, "workloads"), Seal: sealer, Ledger: a.ledger, Site: a.identity, Env: a.Env, Logger: a.Logger,
		Ask: func(ctx context.Context, request *sitev1.IssueSvidsRequest) (*sitev1.IssueSvidsResponse, error) {
			return askVoters(ctx, a, sync, request, sitev1connect.WorkloadIdentityServiceClient.IssueSvids)
		},
	})
}

func (a *Agent) newTokens(sync connect.HTTPClient) *workloads.Tokens {
	return workloads.NewTokens(workloads.TokensConfig{
		Site: a.identity, Env: a.Env,
		Ask: func(ctx context.Context, request *sitev1.IssueJwtSvidRequest) (*sitev1.IssueJwtSvidResponse, error) {
			return askVoters(ctx, a, sync, request, sitev1connect.WorkloadIdentityServiceClient.IssueJwtSvid)
		},
	})
}

// askVoters asks the coordinator first, it being the one that answers surely,
// then other voters.
func askVoters[Req, Res any](ctx context.Context, a *Agent, sync connect.HTTPClient, request *Req,
	call func(sitev1connect.WorkloadIdentityServiceClient, context.Context, *connect.Request[Req]) (*connect.Response[Res], error)) (*Res, error) {
	var failures error
	for _, address := range a.votersToAsk() {
		client := sitev1connect.NewWorkloadIdentityServiceClient(sync, "https://"+address, connect.WithReadMaxBytes(maxIssued))
		response, err := call(client, ctx, connect.NewRequest(request))
		if err == nil {
			return response.Msg, nil
		}
		failures = errors.Join(failures, problem.New(problem.Unavailable, address, "it issued nothing: %w", err))
	}
	if failures == nil {
		failures = problem.New(problem.Unavailable, "voters", "this node knows of none")
	}
	return nil, failures
}

func (a *Agent) votersToAsk() []string {
	var addresses []string
	coordinator := a.session.Coordinator()
	if coordinator != "" {
		addresses = append(addresses, coordinator)
	}
	for _, peer := range a.ledger.Current().GetPeers() {
		votes := peer.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER
		if votes && peer.GetAddress() != coordinator && len(addresses) < maxVotersAsked {
			addresses = append(addresses, peer.GetAddress())
		}
	}
	return addresses
}

func (a *Agent) workloadAPI() *workloadapi.Server {
	return workloadapi.New(workloadapi.Config{
		Dir: a.Config.WorkloadAPIDir(), Attest: a.attest, Source: identities{a}, Env: a.Env, Logger: a.Logger,
	})
}

// attest tells of which placement a process on this node is.
func (a *Agent) attest(ctx context.Context, pid int) (workloadapi.Placement, error) {
	instance, err := a.Runtime.InstanceOf(ctx, pid)
	if err != nil {
		return workloadapi.Placement{}, err
	}
	project, name, _ := strings.Cut(instance, ".")
	return workloadapi.Placement{Project: project, Name: name}, nil
}

// identities are what this node knows of its placements' identities.
type identities struct{ *Agent }

// Entitled implements workloadapi.Source: the orders say who is.
func (i identities) Entitled(p workloadapi.Placement) error {
	_, err := i.entitled(p)
	return err
}

func (i identities) entitled(p workloadapi.Placement) (*skerryv1.Placement, error) {
	subject := "Placement/" + p.Name
	for _, placement := range i.ledger.Current().GetPlacements() {
		switch {
		case placement.GetProject() != p.Project || placement.GetName() != p.Name:
		case placement.GetSpec().GetIdentity():
			return placement, nil
		default:
			return nil, problem.New(problem.Forbidden, subject, "its workload asks for no identity").
				WithHint("identity: true in its manifest")
		}
	}
	return nil, problem.New(problem.Forbidden, subject, "it is not, or not any more, to run on this node")
}

// SVID implements workloadapi.Source.
func (i identities) SVID(p workloadapi.Placement) *workloads.SVID {
	return i.workloads.SVID(p.Project, p.Name)
}

// ID implements workloadapi.Source.
func (i identities) ID(p workloadapi.Placement) (string, error) {
	placement, err := i.entitled(p)
	if err != nil {
		return "", err
	}
	return workloads.IDOf(i.identity.Site(), placement), nil
}

// JWT implements workloadapi.Source.
func (i identities) JWT(ctx context.Context, p workloadapi.Placement, audience []string) (workloads.Token, error) {
	placement, err := i.entitled(p)
	if err != nil {
		return workloads.Token{}, err
	}
	return i.tokens.Token(ctx, placement, audience)
}

// Now implements workloadapi.Source.
func (i identities) Now() time.Time { return i.identity.Now() }

// Bundle implements workloadapi.Source.
func (i identities) Bundle() *certs.Bundle { return i.identity.Bundle() }

// News implements workloadapi.Source.
func (i identities) News() workloadapi.News {
	return workloadapi.News{Orders: i.ledger.Changed(), SVIDs: i.workloads.Changed(), Bundle: i.identity.TrustChanged()}
}
