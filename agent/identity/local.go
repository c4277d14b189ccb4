package identity

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// LocalOptions say which operator root on a voter wants.
type LocalOptions struct {
	Name, Role string
	// Node is the identity of this machine.
	Node *Node
	// Home of the operator.
	Home string
	// Ask the agent of this machine.
	Ask func(context.Context, *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error)
}

// CreateLocalOperator makes an operator without a token and without any other
// operator, with the same files as a join. It returns where they are. After a
// crash it may be called again.
func CreateLocalOperator(ctx context.Context, system env.System, options LocalOptions) (string, error) {
	dir := filepath.Join(options.Home, options.Node.Site())
	if err := checkUnused(system.FS, dir); err != nil {
		return "", err
	}
	key, err := Pending(system, dir)
	if err != nil {
		return "", err
	}
	csr, err := certs.NewJoinRequest(system.Rand, key)
	if err != nil {
		return "", err
	}
	chain := options.Node.Trust()
	answer, err := options.Ask(ctx, &sitev1.CreateOperatorRequest{Name: options.Name, Role: options.Role, Csr: csr, After: uint64(len(chain))})
	if err != nil {
		return "", err
	}
	answer.Trust = slices.Concat(chain, answer.GetTrust())
	bundle, err := check(options.Node.SiteID(), string(certs.RoleOperator), answer)
	if err != nil {
		return "", err
	}
	if err := storeOperator(system.FS, dir, options.Node.Record().GetAddress(), key, answer, bundle); err != nil {
		return "", err
	}
	return dir, system.FS.Remove(filepath.Join(dir, pendingKey))
}

// checkUnused: nobody's credentials are overwritten; an attempt that broke off
// is gone on with.
func checkUnused(files env.FS, dir string) error {
	_, err := files.ReadFile(filepath.Join(dir, siteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := files.ReadFile(filepath.Join(dir, pendingKey)); err == nil {
		return nil
	}
	return problem.New(problem.Conflict, dir, "there are an operator's credentials already").
		WithHint("if they are of no use any more, move the directory away; or set SKERRY_HOME to another one")
}
