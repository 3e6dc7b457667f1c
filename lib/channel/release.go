package channel

import (
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

// Released tells the team what came of a release: how it ended, in words, and by whom it was asked.
func Released(meta ledger.Incident, ending incident.Ending, words, why string) Message {
	var b body
	if meta.Status == incident.Closed {
		b.line("%s is released and closed. A newer copy of its finding opens it again; for some time people are asked before anything of it is contained again.", meta.ID)
	} else {
		b.line("A release of %s ended %s. The incident stays %s.", meta.ID, ending, meta.Status)
	}
	b.head("WHAT CAME OF IT")
	b.line("%s", Line(words, 1500))
	b.line("%s", Line(why, 500))
	b.found(meta)
	b.foot(meta)
	return Message{Subject: title(meta, "release "+string(ending)), Body: b.String(), Severity: meta.Band}
}
