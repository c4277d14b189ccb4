// Package scheduler finds nodes for placements. Schedule is a pure function of
// what it is given: same input, same plan, with the reason for every choice and
// for every refusal.
//
// It decides nothing about how many placements there should be; that is
// lifecycle's business.
package scheduler
