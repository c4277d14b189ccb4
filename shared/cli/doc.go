// Package cli is the operators' command line: cobra commands that call the API
// of a site through shared/client, and tables, progress and errors for people.
//
// It knows nothing of certificates, files of a node or the network: whoever
// assembles the binary hands in how to connect, and adds the commands that run
// on a node. It decides nothing that the API does not decide again.
package cli
