// Package hostile throws at a site what an attacker, a broken client or a tired
// person would send: certificates that break the rules, tokens that are used
// up, bodies that are too large, names that lie.
//
// Its tests run one real agent in this process, with real TLS on loopback and a
// real log on disk, and judge each case alike: it is refused with an error that
// names the reason, within a second, without growing the process, and nothing
// that people declared has changed. It holds no code of the product.
package hostile
