package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

func TestANodeThatGoesWithinAnAnswerIsUnavailable(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/connect+proto")
		_, _ = w.Write([]byte{0, 0, 0}) // of the five bytes before a message
	}))
	defer node.Close()
	client := skerryv1connect.NewPlacementServiceClient(node.Client(), node.URL)
	stream, err := client.Logs(t.Context(), connect.NewRequest(&skerryv1.LogsRequest{Placement: "web-1"}))
	if err != nil {
		t.Fatal(err)
	}
	if stream.Receive() {
		t.Fatal("half an answer counts")
	}
	if err := fromNode(stream.Err()); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("it is told as %v: %v", problem.KindOf(err), err)
	}
	if err := fromNode(nil); err != nil {
		t.Error(err)
	}
}
