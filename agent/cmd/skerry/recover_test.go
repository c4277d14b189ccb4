package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// viewOf a site of so many voters, the first of which is n1, and a node n9 that
// does not vote.
func viewOf(t *testing.T, voters int) *state.View {
	t.Helper()
	snapshot := &sitev1.Snapshot{Index: 100, SiteEpoch: 1, Site: "harbour", Audit: &sitev1.AuditState{}}
	for i := range voters {
		snapshot.Nodes = append(snapshot.Nodes, &skerryv1.Node{
			Name: "n" + string(rune('1'+i)), Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER, RaftId: uint64(i + 1), State: skerryv1.NodeState_NODE_STATE_READY,
		})
	}
	snapshot.Nodes = append(snapshot.Nodes, &skerryv1.Node{Name: "n9", State: skerryv1.NodeState_NODE_STATE_READY})
	encoded, err := proto.Marshal(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	store := state.New()
	if err := store.RestoreOlder(encoded); err != nil {
		t.Fatal(err)
	}
	return store.View()
}

func TestWhoKnowsBetterIsAskedFirst(t *testing.T) {
	silent, behind := answer{}, answer{PingResponse: &sitev1.PingResponse{SiteEpoch: 1, LastTerm: 4, LastIndex: 90}}
	says := func(p *sitev1.PingResponse) answer { return answer{PingResponse: p} }
	refuses := answer{refused: true}
	type answers map[string]answer
	for _, test := range []struct {
		name    string
		voters  int
		answers answers
		refused string
		silent  string
	}{
		{"nobody is reached", 3, answers{"n2": silent, "n3": silent, "n9": silent}, "", "n2 (voter, ), n3 (voter, ), n9"},
		{"a node that does not vote is", 3, answers{"n2": silent, "n3": silent, "n9": says(&sitev1.PingResponse{SiteEpoch: 1})}, "", "n2 (voter, ), n3 (voter, )"},
		{"one refuses the survivor", 3, answers{"n2": silent, "n3": refuses, "n9": refuses}, "", "n2 (voter, ), n3 (voter, , it refuses this machine), n9 (it refuses this machine)"},
		{"one of five is, and is behind", 5, answers{"n2": behind, "n3": silent, "n4": silent, "n5": silent}, "", "n3 (voter, ), n4 (voter, ), n5 (voter, )"},
		{"one of five is, and is ahead", 5, answers{"n2": says(&sitev1.PingResponse{SiteEpoch: 1, LastTerm: 4, LastIndex: 101}), "n3": silent}, "n2 () has a newer log", ""},
		{"one of five is, of a later term", 5, answers{"n2": says(&sitev1.PingResponse{SiteEpoch: 1, LastTerm: 5, LastIndex: 7}), "n3": silent}, "n2 () has a newer log", ""},
		{"one of five is, that an earlier recovery left behind", 5, answers{"n2": says(&sitev1.PingResponse{LastTerm: 5, LastIndex: 700}), "n3": silent}, "", "n3 (voter, )"},
		{"a majority is", 3, answers{"n2": behind, "n3": silent}, "2 of 3 voters are in reach", ""},
		{"a majority is, and has halted", 3, answers{"n2": says(&sitev1.PingResponse{SiteEpoch: 1}), "n3": silent}, "", "n3 (voter, )"},
		{"a majority is, and only begins", 3, answers{"n2": says(&sitev1.PingResponse{SiteEpoch: 1, Opening: true}), "n3": silent}, "does not answer yet", ""},
		{"one reaches a coordinator", 3, answers{"n2": silent, "n9": says(&sitev1.PingResponse{SiteEpoch: 1, Quorum: true})}, "n9 () reaches a coordinator", ""},
		{"it was recovered elsewhere", 3, answers{"n2": silent, "n9": says(&sitev1.PingResponse{SiteEpoch: 2})}, "recovered already", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &survey{view: viewOf(t, test.voters), survives: true, last: consensus.Last{Term: 4, Index: 100}}
			silent, err := s.judge(test.answers)
			if test.refused != "" {
				if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("it gave %v", err)
				}
				return
			}
			if got := strings.Join(silent, ", "); err != nil || got != test.silent {
				t.Errorf("not reached are %s, %v", got, err)
			}
		})
	}
}

func TestABackupOfAnotherMajorVersionOrANewerOneIsRefused(t *testing.T) {
	for _, test := range []struct {
		made, own string
		ok        bool
	}{
		{"1.2.3", "1.2.3", true}, {"1.2.3", "1.10.0", true}, {"1.2.3", "1.2.2", false}, {"1.9.0", "2.0.0", false}, {"2.0.0", "1.9.0", false},
		{"dc32657-dirty", "1.0.0", true}, {"", "1.0.0", true},
	} {
		if err := checkMade("file", test.made, test.own); (err == nil) != test.ok {
			t.Errorf("%s under %s: %v", test.made, test.own, err)
		}
	}
}

func TestWhatIsNoBackupIsNotRestored(t *testing.T) {
	dir := t.TempDir()
	file, key := filepath.Join(dir, "file"), filepath.Join(dir, "key")
	for name, text := range map[string]string{file: "nothing", key: "no key"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ file, key, says string }{
		{file, "", "no backup of a site"}, {filepath.Join(dir, "none"), "", "cannot be read"}, {file, key, "key"}, {file, filepath.Join(dir, "none"), "cannot be read"},
	} {
		if _, err := readBackup(test.file, test.key); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s with %s: %v", test.file, test.key, err)
		}
	}
}
