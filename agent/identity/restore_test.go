package identity

import (
	"crypto/x509"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// A node that was off when the site was restored, or that knows that the backup is old,
// still takes the restored machine for what it is: by the CA from before.
func TestARestoredMachineIsKnownForAsLongAsNodesMayBeAway(t *testing.T) {
	lost, dir := begin(t, "reef"), t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(lost.Authority().Key())
	if err != nil {
		t.Fatal(err)
	}
	made := time.Now()
	_, err = Restore(env.NewSystem(), RestoreOptions{
		State:   &sitev1.Snapshot{Site: "reef", SiteId: lost.SiteID(), Trust: lost.Trust(), Time: timestamppb.New(made), GossipKey: make([]byte, 32)},
		Content: &sitev1.BackupContent{AuthorityKey: key, Authority: lost.Authority().Certificate().Raw},
		From:    &skerryv1.Recovery{How: "restore"}, Node: &skerryv1.Node{Name: "n9", Address: "127.0.0.1:1"}, StateDir: dir,
		Keep: func(*sitev1.BeginAgain, *sitev1.Assignments) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	restored, err := Load(env.NewSystem(), Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, later := range []time.Duration{0, 400 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		shown := []*x509.Certificate{restored.Leaf()}
		if peer, err := certs.VerifyPeer(shown, lost.Bundle(), made.Add(later)); err != nil || peer.Name != "n9" {
			t.Errorf("%s after the backup: %v", later, err)
		}
	}
	if restored.Bundle().CountedBefore(restored.Authority().Certificate()) || !restored.Bundle().CountedBefore(lost.Authority().Certificate()) {
		t.Error("which CAs counted before is not known")
	}
}
