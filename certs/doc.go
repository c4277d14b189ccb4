// Package certs holds the rules of identity: the site's CAs, the X.509-SVIDs
// they issue, the chain of trust that says which CAs count, and join tokens.
//
// It is pure: time and randomness are handed in, keys and certificates are
// values. Files are agent/identity's, connections are certs/mtls's.
package certs
