package api

import (
	"bytes"
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// keyWait bounds how long a write waits for the key of a site that has just
// begun.
const keyWait = 3 * time.Second

// sealAll takes the values out of the secrets among the resources and returns
// them sealed, in their order. Until the result is committed no other secret may
// be sealed: end must be called then.
func (s *Server) sealAll(ctx context.Context, resources []*skerryv1.Resource) (sealed []*sitev1.SealedSecret, end func(), err error) {
	end = func() {}
	if len(secretsAmong(resources)) == 0 {
		return nil, end, nil
	}
	s.awaitKey(ctx)
	s.Secrets.Writing.Lock()
	for _, secret := range secretsAmong(resources) {
		one, err := s.sealOne(secret)
		if err != nil {
			s.Secrets.Writing.Unlock()
			return nil, end, err
		}
		sealed = append(sealed, one)
	}
	return sealed, s.Secrets.Writing.Unlock, nil
}

func secretsAmong(resources []*skerryv1.Resource) []*skerryv1.Secret {
	var found []*skerryv1.Secret
	for _, resource := range resources {
		if secret := resource.GetSecret(); secret != nil {
			found = append(found, secret)
		}
	}
	return found
}

// sealOne seals the values of a secret and leaves their names and sizes.
func (s *Server) sealOne(secret *skerryv1.Secret) (*sitev1.SealedSecret, error) {
	values, err := manifest.SecretValues(secret)
	if err != nil {
		return nil, err
	}
	stripSecret(secret, values)
	return s.Secrets.Seal(s.Store.View(), secret.GetProject(), secret.GetName(), values)
}

// assumeAll stands for sealAll where nothing is kept: each secret counts as one
// with another content than before. Whoever may only ask what would be learns
// nothing by asking whether a content is the present one.
func (s *Server) assumeAll(resources []*skerryv1.Resource) ([]*sitev1.SealedSecret, error) {
	view := s.Store.View()
	var assumed []*sitev1.SealedSecret
	for _, secret := range secretsAmong(resources) {
		values, err := manifest.SecretValues(secret)
		if err != nil {
			return nil, err
		}
		stripSecret(secret, values)
		assumed = append(assumed, &sitev1.SealedSecret{
			Version:    view.Secret(secret.GetProject(), secret.GetName()).GetSealed().GetVersion() + 1,
			KeyVersion: secrets.Present(view).GetVersion(), Ciphertext: []byte{0},
		})
	}
	return assumed, nil
}

func stripSecret(secret *skerryv1.Secret, values map[string][]byte) {
	secret.Data, secret.StringData, secret.File = nil, nil, nil
	secret.Keys = manifest.SecretSizes(values)
}

// awaitKey waits until the site has a key for secrets, for a while.
func (s *Server) awaitKey(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	for {
		changed := s.Store.Changed()
		if secrets.Present(s.Store.View()) != nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return // sealing says what is wrong
		}
	}
}

// secretService implements skerry.v1.SecretService.
type secretService struct{ *Server }

// Reveal returns one value, once it is in the log that it was read.
func (s secretService) Reveal(ctx context.Context, req *connect.Request[skerryv1.RevealRequest]) (*connect.Response[skerryv1.RevealResponse], error) {
	msg := req.Msg
	project := projectOr(msg.GetProject(), defaultProject)
	_, err := s.commit(ctx, msg.GetRequestId(), &sitev1.Entry{
		Change: &sitev1.Entry_RevealSecret{RevealSecret: &sitev1.RevealSecret{Project: project, Name: msg.GetName(), Key: msg.GetKey()}},
	})
	if err != nil {
		return nil, err
	}
	view := s.Store.View()
	record := view.Secret(project, msg.GetName())
	values, err := s.Secrets.Values(view, record)
	if err != nil {
		return nil, err
	}
	value, found := values[msg.GetKey()]
	if !found {
		return nil, problem.New(problem.Conflict, "Secret/"+msg.GetName(), "it changed at the same moment").WithHint("try again")
	}
	return connect.NewResponse(&skerryv1.RevealResponse{Value: value, Version: record.GetSealed().GetVersion()}), nil
}

// SecretKeys tells who can open the site's key, and how far a rotation is.
func (s secretService) SecretKeys(ctx context.Context, _ *connect.Request[skerryv1.SecretKeysRequest]) (*connect.Response[skerryv1.SecretKeysResponse], error) {
	view, _ := s.read(ctx, false)
	response := &skerryv1.SecretKeysResponse{Secrets: uint32(len(view.Secrets())), Open: s.Secrets.CanOpen(view), SiteId: view.SiteID()}
	present := secrets.Present(view).GetVersion()
	for _, key := range view.SecretKeys() {
		info := &skerryv1.SecretKeyInfo{Version: key.GetVersion(), Created: key.GetCreated(), Check: key.GetCheck(), Recovery: map[string][]byte{}}
		for _, wrap := range key.GetWraps() {
			if wrap.GetNode() != "" {
				info.Nodes = append(info.Nodes, wrap.GetNode())
			} else {
				info.Recovery[wrap.GetRecovery()] = wrap.GetSealed()
			}
		}
		if key.GetVersion() != present {
			response.Behind += uint32(len(view.SecretsUnder(key.GetVersion())))
		}
		response.Keys = append(response.Keys, info)
	}
	for _, key := range view.RecoveryKeys() {
		response.RecoveryKeys = append(response.RecoveryKeys, &skerryv1.RecoveryKeyInfo{
			Name: key.GetName(), PublicKey: key.GetPublicKey(), Created: key.GetCreated(),
		})
	}
	for _, node := range secrets.Replicas(view) {
		response.Holders = append(response.Holders, &skerryv1.SecretKeyHolder{Node: node.GetName(), PublicKey: node.GetSealingKey()})
	}
	return connect.NewResponse(response), nil
}

// RotateKey makes a new version of the site's key.
func (s secretService) RotateKey(ctx context.Context, req *connect.Request[skerryv1.RotateKeyRequest]) (*connect.Response[skerryv1.RotateKeyResponse], error) {
	s.awaitKey(ctx)
	s.Secrets.Writing.Lock()
	defer s.Secrets.Writing.Unlock()
	view := s.Store.View()
	if !s.Secrets.CanOpen(view) {
		return nil, problem.New(problem.Unavailable, "secret key", "the coordinator cannot open the present version, so nothing could go under a new one").
			WithHint("hand it back first: skerry secret recover --key FILE")
	}
	entry, err := s.Secrets.NewVersion(view)
	if err != nil {
		return nil, err
	}
	if _, err := s.commit(ctx, req.Msg.GetRequestId(), entry); err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.RotateKeyResponse{Version: secrets.Present(s.Store.View()).GetVersion()}), nil
}

// AddRecoveryKey seals the site's key to a key that an operator keeps.
func (s secretService) AddRecoveryKey(ctx context.Context, req *connect.Request[skerryv1.AddRecoveryKeyRequest]) (*connect.Response[skerryv1.AddRecoveryKeyResponse], error) {
	msg := req.Msg
	if err := envelope.CheckPublic(msg.GetPublicKey()); err != nil {
		return nil, problem.New(problem.Invalid, "recovery key", "%w", err).WithField("publicKey")
	}
	s.awaitKey(ctx)
	s.Secrets.Writing.Lock()
	defer s.Secrets.Writing.Unlock()
	entry, err := s.Secrets.RecoveryKey(s.Store.View(), msg.GetName(), msg.GetPublicKey())
	if err != nil {
		return nil, err
	}
	if _, err := s.commit(ctx, msg.GetRequestId(), entry); err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.AddRecoveryKeyResponse{}), nil
}

// RemoveRecoveryKey forgets a recovery key; the site's key is rotated then.
func (s secretService) RemoveRecoveryKey(ctx context.Context, req *connect.Request[skerryv1.RemoveRecoveryKeyRequest]) (*connect.Response[skerryv1.RemoveRecoveryKeyResponse], error) {
	_, err := s.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{
		Change: &sitev1.Entry_RemoveRecoveryKey{RemoveRecoveryKey: &sitev1.RemoveRecoveryKey{Name: req.Msg.GetName()}},
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.RemoveRecoveryKeyResponse{}), nil
}

// RecoverSecrets takes the site's key back, sealed to nodes with a replica. The
// coordinator opens what is for itself and seals it to the others.
func (s secretService) RecoverSecrets(ctx context.Context, req *connect.Request[skerryv1.RecoverSecretsRequest]) (*connect.Response[skerryv1.RecoverSecretsResponse], error) {
	if len(req.Msg.GetKeys()) == 0 {
		return nil, problem.New(problem.Invalid, "secret key", "there is no key to take back").WithField("keys").
			WithHint("skerry secret recover makes the request out of a recovery key")
	}
	entries, err := s.recovered(s.Store.View(), req.Msg.GetKeys())
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if _, err := s.commit(ctx, "", entry); err != nil {
			return nil, err
		}
	}
	if !s.Secrets.CanOpen(s.Store.View()) {
		return nil, problem.New(problem.Conflict, "secret key", "the coordinator cannot open the present version with what was handed back").
			WithHint("try again: another node may have become the coordinator")
	}
	return connect.NewResponse(&skerryv1.RecoverSecretsResponse{}), nil
}

// recovered are the entries that take back all versions that were handed in: all
// of them, or none.
func (s secretService) recovered(view *state.View, keys []*skerryv1.RecoveredKey) ([]*sitev1.Entry, error) {
	own := map[uint64][]byte{}
	var versions []uint64
	for _, key := range keys {
		node := view.Node(key.GetNode())
		if node == nil || !bytes.Equal(node.GetSealingKey(), key.GetPublicKey()) {
			return nil, problem.New(problem.Conflict, "Node/"+key.GetNode(), "it has another sealing key").WithHint("try again")
		}
		if !slices.Contains(versions, key.GetVersion()) {
			versions = append(versions, key.GetVersion())
		}
		if key.GetNode() == s.Node {
			own[key.GetVersion()] = key.GetSealed()
		}
	}
	var entries []*sitev1.Entry
	for _, version := range versions {
		entry, err := s.Secrets.Recovered(view, version, own[version])
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}
