package pipeline

// Bad habits: what is legal, and rarely the best way to say it.
const (
	noTimeout     Code = "OTTO1210"
	longScript    Code = "OTTO1211"
	cdFirst       Code = "OTTO1212"
	sudoUsed      Code = "OTTO1213"
	pipedDownload Code = "OTTO1214"
	setDefault    Code = "OTTO1215"
	hiddenFailure Code = "OTTO1216"
	secretInLog   Code = "OTTO1217"
	leftProcess   Code = "OTTO1218"
	uselessAllow  Code = "OTTO1219"
	deafShebang   Code = "OTTO1220"
)

// lintCodes are the rows of the bad habits in the table of all codes.
func lintCodes() []CodeInfo {
	return []CodeInfo{
		{noTimeout, SeverityHint, "A task has no timeout, as others do"},
		{longScript, SeverityHint, "A script is long"},
		{cdFirst, SeverityHint, "A script starts by changing its directory"},
		{sudoUsed, SeverityWarning, "A script uses sudo"},
		{pipedDownload, SeverityWarning, "A script runs what it downloads"},
		{setDefault, SeverityHint, "A script sets what is the default"},
		{hiddenFailure, SeverityHint, "A step hides its failure"},
		{secretInLog, SeverityWarning, "A script writes a secret into the log"},
		{leftProcess, SeverityHint, "A script leaves a process in the background"},
		{uselessAllow, SeverityHint, "A comment allows what cannot be allowed"},
		{deafShebang, SeverityWarning, "The first line of a script names a program that does not run it"},
	}
}
