// Package years lets a site live through years of identity: renewals, power cuts
// of more than a year, clocks that are decades off.
//
// What issues, renews, judges and keeps identities and site time is the real
// code, over real TLS; a step is hours or days of simulated time. The replicated
// log is a model: one state that whoever coordinates applies to. It must decide
// nothing that the product decides.
package years
