package api

import (
	"encoding/hex"

	"skerry.dev/shared/env"
)

func (s *Server) newID() string { return newUUID(s.Rand) }

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID(rand env.Rand) string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("env.Rand failed, which its contract excludes: " + err.Error())
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	text := hex.EncodeToString(b[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
