package main

import (
	"fmt"
	"slices"

	"github.com/ottoci/otto/client"
)

// auctions says who won which task, and why; and for which nobody has bid.
func (s *summary) auctions(list []client.Auction) {
	var lines []string
	for _, a := range slices.Backward(list) {
		for _, w := range a.Awards {
			line := fmt.Sprintf("%s was won by %s, because %s", a.Name, w.Orchestrator, w.Because)
			if w.EndReason != "" && w.EndReason != "started" {
				line += " (" + w.EndReason + ")"
			}
			lines = append(lines, line)
		}
		if a.State == "open" {
			lines = append(lines, fmt.Sprintf("%s is auctioned, with %d bids so far", a.Name, len(a.Bids)))
		} else if a.Outcome == "no_bids" {
			lines = append(lines, fmt.Sprintf("%s was auctioned, and nobody bid (round %d)", a.Name, a.Round))
		}
	}
	if len(lines) == 0 {
		return
	}
	s.WriteString("\n" + s.style.dim("auctions") + "\n")
	for _, line := range lines {
		s.WriteString("  " + line + "\n")
	}
}
