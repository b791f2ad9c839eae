package pipeline

import "slices"

// Code names one kind of problem. A code is never reused for another kind: people search for it.
type Code string

// The kinds of problems. docs/errors has a page for each, with an example that a test tries.
const (
	fileTooLarge    Code = "OTTO1001"
	notUTF8         Code = "OTTO1002"
	controlChar     Code = "OTTO1003"
	tabIndent       Code = "OTTO1004"
	nestedTooDeep   Code = "OTTO1005"
	tooMuch         Code = "OTTO1006"
	emptyFile       Code = "OTTO1007"
	badYAML         Code = "OTTO1008"
	manyDocuments   Code = "OTTO1009"
	badAlias        Code = "OTTO1010"
	tooManyAliases  Code = "OTTO1011"
	unknownKey      Code = "OTTO1012"
	duplicateKey    Code = "OTTO1013"
	notYet          Code = "OTTO1014"
	misplacedKey    Code = "OTTO1015"
	wrongType       Code = "OTTO1016"
	missingKey      Code = "OTTO1017"
	foreignYAML     Code = "OTTO1018"
	conflictingKeys Code = "OTTO1019"
	tooManyProblems Code = "OTTO1020"

	badName        Code = "OTTO1101"
	duplicateName  Code = "OTTO1102"
	nothingToRun   Code = "OTTO1103"
	unknownMode    Code = "OTTO1104"
	bareStep       Code = "OTTO1105"
	emptyScript    Code = "OTTO1106"
	exprInScript   Code = "OTTO1107"
	exprInData     Code = "OTTO1108"
	badDuration    Code = "OTTO1109"
	badEnvName     Code = "OTTO1110"
	reservedEnv    Code = "OTTO1111"
	badEnvValue    Code = "OTTO1112"
	badCapability  Code = "OTTO1113"
	badExitCode    Code = "OTTO1114"
	unknownOutcome Code = "OTTO1115"
	badRetries     Code = "OTTO1116"
	badOnLost      Code = "OTTO1117"
	badDir         Code = "OTTO1118"

	unknownTemplate   Code = "OTTO1430"
	badTemplate       Code = "OTTO1431"
	misplacedTemplate Code = "OTTO1432"
	badUse            Code = "OTTO1433"
	noTemplateFile    Code = "OTTO1434"
	templateCycle     Code = "OTTO1435"
	templateBounds    Code = "OTTO1436"
	unknownInput      Code = "OTTO1438"
	missingInput      Code = "OTTO1439"
	wrongInput        Code = "OTTO1440"
	misplacedInput    Code = "OTTO1441"
	lockMismatch      Code = "OTTO1442"
	notPinned         Code = "OTTO1443"
	badLock           Code = "OTTO1444"
	notFetched        Code = "OTTO1445"
	notLocked         Code = "OTTO1446"
	unusedTemplate    Code = "OTTO1447"
	unusedInput       Code = "OTTO1448"

	exitTwo     Code = "OTTO1201"
	badShell    Code = "OTTO1202"
	emptyPlan   Code = "OTTO1203"
	notChecked  Code = "OTTO1204"
	uselessRule Code = "OTTO1205"

	badModel       Code = "OTTO1301"
	badUUID        Code = "OTTO1302"
	duplicateUUID  Code = "OTTO1303"
	foreignContext Code = "OTTO1304"
	unknownSymbol  Code = "OTTO1305"
	badParameters  Code = "OTTO1306"
	lostProperty   Code = "OTTO1307"
)

// CodeInfo is what is the same for all problems of one code.
type CodeInfo struct {
	Code     Code
	Severity Severity
	Title    string
}

// Codes lists every code with its severity and title, in the order of docs/errors/README.md.
func Codes() []CodeInfo {
	return slices.Concat([]CodeInfo{
		{fileTooLarge, SeverityError, "The file is larger than 1 MiB"},
		{notUTF8, SeverityError, "The file is not UTF-8"},
		{controlChar, SeverityError, "The file contains a control character"},
		{tabIndent, SeverityError, "A tab is used for indentation"},
		{nestedTooDeep, SeverityError, "Values are nested too deeply"},
		{tooMuch, SeverityError, "The file has too many values"},
		{emptyFile, SeverityError, "The file is empty"},
		{badYAML, SeverityError, "The file is not YAML"},
		{manyDocuments, SeverityError, "The file holds more than one document"},
		{badAlias, SeverityError, "An alias or merge has nothing to refer to"},
		{tooManyAliases, SeverityError, "Aliases expand to too much"},
		{unknownKey, SeverityError, "A key is unknown"},
		{duplicateKey, SeverityError, "A key is written twice"},
		{notYet, SeverityError, "A key is not supported yet"},
		{misplacedKey, SeverityError, "A key belongs elsewhere"},
		{wrongType, SeverityError, "A value has the wrong type"},
		{missingKey, SeverityError, "A key is missing"},
		{foreignYAML, SeverityError, "A part of YAML that an Ottofile does not use"},
		{conflictingKeys, SeverityError, "Keys exclude each other"},
		{tooManyProblems, SeverityHint, "There are more problems than are shown"},

		{badName, SeverityError, "A name cannot be used"},
		{duplicateName, SeverityError, "A name is used twice"},
		{nothingToRun, SeverityError, "A stage or task has nothing to run"},
		{unknownMode, SeverityError, "A mode is unknown"},
		{bareStep, SeverityError, "A step is written without its keyword"},
		{emptyScript, SeverityError, "A script is empty"},
		{exprInScript, SeverityError, "A script contains an expression"},
		{exprInData, SeverityError, "An expression stands where none is read"},
		{badDuration, SeverityError, "A duration cannot be used"},
		{badEnvName, SeverityError, "A variable's name cannot be used"},
		{reservedEnv, SeverityError, "A variable's name is reserved"},
		{badEnvValue, SeverityError, "A variable's value is not text"},
		{badCapability, SeverityError, "A capability cannot be used"},
		{badExitCode, SeverityError, "An exit code cannot be used"},
		{unknownOutcome, SeverityError, "An outcome is unknown"},
		{badRetries, SeverityError, "Retries cannot be used"},
		{badOnLost, SeverityError, "What follows a lost agent is unknown"},
		{badDir, SeverityError, "A directory is outside the workspace"},

		{unknownTemplate, SeverityError, "A template is unknown"},
		{badTemplate, SeverityError, "A template cannot be used"},
		{misplacedTemplate, SeverityError, "A template makes something that has no place here"},
		{badUse, SeverityError, "A use names no template"},
		{noTemplateFile, SeverityError, "A template file cannot be read"},
		{templateCycle, SeverityError, "A template uses itself"},
		{templateBounds, SeverityError, "Templates are too many, too deep or make too much"},
		{unknownInput, SeverityError, "A template has no such input"},
		{missingInput, SeverityError, "An input is not given"},
		{wrongInput, SeverityError, "An input has a value that it must not have"},
		{misplacedInput, SeverityError, "An input stands where its value cannot"},
		{lockMismatch, SeverityError, "A template file is not what otto.lock says"},
		{notPinned, SeverityError, "A git source is not pinned"},
		{badLock, SeverityError, "otto.lock cannot be read"},
		{notFetched, SeverityError, "A git source is not here"},
		{notLocked, SeverityHint, "A template file is not in otto.lock"},
		{unusedTemplate, SeverityHint, "A template is never used"},
		{unusedInput, SeverityHint, "An input is never used"},

		{exitTwo, SeverityWarning, "Exit code 2 of a tool would abort the run"},
		{badShell, SeverityWarning, "A script is not valid shell"},
		{emptyPlan, SeverityHint, "There is nothing to run"},
		{notChecked, SeverityHint, "Scripts are too long to check"},
		{uselessRule, SeverityHint, "A setting has no effect"},
	}, lintCodes(), languageCodes(), placementCodes(), isolationCodes(), []CodeInfo{
		{badModel, SeverityError, "A posted model has the wrong shape"},
		{badUUID, SeverityError, "A UUID is not one"},
		{duplicateUUID, SeverityError, "A UUID is used twice"},
		{foreignContext, SeverityError, "A step belongs to no context"},
		{unknownSymbol, SeverityError, "A step's symbol is unknown"},
		{badParameters, SeverityError, "A step's parameters do not fit"},
		{lostProperty, SeverityWarning, "A property is not kept"},
	})
}

// severity is the same for all problems of a code.
func (c Code) severity() Severity {
	for _, known := range Codes() {
		if known.Code == c {
			return known.Severity
		}
	}
	return SeverityError
}
