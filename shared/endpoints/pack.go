package endpoints

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// maxUnpacked bounds what a message may unfold to: twice what a site of 100,000
// placements has.
const maxUnpacked = 64 << 20

// Pack encodes changes, small.
func Pack(changes *sitev1.EndpointChanges) []byte {
	encoded, err := proto.Marshal(changes)
	if err != nil {
		panic("endpoints cannot be encoded: " + err.Error()) // only invalid UTF-8 can do this, and that does not parse
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(encoded)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic("compressing into memory failed: " + err.Error())
	}
	return packed.Bytes()
}

// Unpack decodes what Pack made. What comes from the network is bounded.
func Unpack(packed []byte) (*sitev1.EndpointChanges, error) {
	encoded, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxUnpacked+1))
	if err != nil {
		return nil, err
	}
	if len(encoded) > maxUnpacked {
		return nil, errors.New("it unfolds to more than 64 MiB")
	}
	changes := &sitev1.EndpointChanges{}
	return changes, proto.Unmarshal(encoded, changes)
}
