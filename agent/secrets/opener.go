// Package secrets opens the secrets that came with the orders, for the
// containers that name them. They are sealed to this node, in the ledger too: a
// node that comes back from a power cut opens them with nobody in reach.
package secrets

import (
	"io/fs"
	"strconv"

	"skerry.dev/agent/runtime"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// Opener opens what is sealed to one node.
type Opener struct {
	node string
	own  *envelope.Recipient
}

// New returns the opener of a node with this sealing key.
func New(node string, own *envelope.Recipient) *Opener { return &Opener{node: node, own: own} }

// Open the secrets that a container names, out of the orders. One that is
// missing is an error that names it: its container cannot start.
func (o *Opener) Open(orders *sitev1.Assignments, project string, container *skerryv1.Container) (runtime.Secrets, error) {
	opened := map[string]map[string][]byte{}
	out := runtime.Secrets{}
	for _, use := range container.GetSecrets() {
		values := opened[use.GetSecret()]
		if values == nil {
			var err error
			if values, err = o.values(orders, project, use.GetSecret()); err != nil {
				return runtime.Secrets{}, err
			}
			opened[use.GetSecret()] = values
		}
		if use.GetKey() != "" {
			value, found := values[use.GetKey()]
			if !found {
				return runtime.Secrets{}, problem.New(problem.Conflict, "Secret/"+use.GetSecret(), "it has no key %s", use.GetKey()).
					WithHint("add the key to the secret, or change the workload")
			}
			values = map[string][]byte{use.GetKey(): value}
		}
		if use.GetEnv() != "" {
			if out.Env == nil {
				out.Env = map[string]string{}
			}
			out.Env[use.GetEnv()] = string(values[use.GetKey()])
			continue
		}
		out.Dirs = append(out.Dirs, runtime.SecretDir{Path: use.GetPath(), Mode: modeOf(use), Files: values})
	}
	return out, nil
}

func modeOf(use *skerryv1.SecretUse) fs.FileMode {
	mode, err := strconv.ParseUint(use.GetMode(), 8, 32)
	if err != nil {
		return 0o400
	}
	return fs.FileMode(mode) & 0o444
}

func (o *Opener) values(orders *sitev1.Assignments, project, name string) (map[string][]byte, error) {
	for _, delivered := range orders.GetSecrets() {
		if delivered.GetProject() != project || delivered.GetName() != name || len(delivered.GetNodeKey()) == 0 {
			continue
		}
		place := envelope.DeliveryPlace(orders.GetSiteId(), project, name, delivered.GetVersion(), o.node)
		dataKey, err := o.own.Open(place, delivered.GetNodeKey())
		if err == nil {
			var values map[string][]byte
			values, err = envelope.DecryptValues(dataKey, orders.GetSiteId(), project, name, delivered.GetVersion(), delivered.GetCiphertext())
			if err == nil {
				return values, nil
			}
		}
		return nil, problem.New(problem.Internal, "Secret/"+name, "what came for this node is of no use: %w", err).
			WithHint("the coordinator sends it anew when the agent is started again")
	}
	return nil, problem.New(problem.Unavailable, "Secret/"+name, "it has not come to this node yet").
		WithHint("the coordinator sends it when it can open the site's key: skerry secret keys")
}
