package localapi

import (
	"context"
	"encoding/hex"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/spool"
)

// Spool keeps records until a coordinator has them.
type Spool interface{ Add(record []byte) error }

// keepExec keeps on this node's disk who runs a command, before it runs. What a
// voter asks for on behalf of somebody it has brought into the log itself.
func (s *Server) keepExec(ctx context.Context, address string, start *skerryv1.ExecStart) error {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer is no voter
	if s.votes(peer) {
		return nil
	}
	project := start.GetProject()
	if project == "" {
		project = "default"
	}
	var id [16]byte
	if _, err := s.Rand.Read(id[:]); err != nil {
		return err
	}
	encoded, err := proto.Marshal(&sitev1.ExecRecord{
		RequestId: "exec-" + hex.EncodeToString(id[:]), Principal: peer.ID.String(), From: counts.HostOf(address),
		Exec: &sitev1.RecordExec{
			Project: project, Placement: start.GetPlacement(), Command: spool.Asked(start), Tty: start.GetTty(),
			Witness: s.Node, Happened: timestamppb.New(s.SiteTime()),
		},
	})
	if err != nil {
		return err
	}
	return s.Spool.Add(encoded)
}
