package pipeline

// The kinds of problems of expressions, and of what they reach.
const (
	exprSyntax         Code = "OTTO1401"
	exprUnknownName    Code = "OTTO1402"
	exprType           Code = "OTTO1403"
	exprCost           Code = "OTTO1404"
	exprFailed         Code = "OTTO1405"
	exprLater          Code = "OTTO1406"
	exprUnclosed       Code = "OTTO1407"
	badParam           Code = "OTTO1410"
	unknownParam       Code = "OTTO1411"
	missingParam       Code = "OTTO1412"
	badParamValue      Code = "OTTO1413"
	badTrigger         Code = "OTTO1414"
	badGlob            Code = "OTTO1415"
	badMatrix          Code = "OTTO1416"
	duplicateLeg       Code = "OTTO1417"
	tooManyLegs        Code = "OTTO1418"
	unknownNeed        Code = "OTTO1419"
	laterNeed          Code = "OTTO1420"
	cyclicNeeds        Code = "OTTO1421"
	unknownEnvironment Code = "OTTO1422"
	badConcurrency     Code = "OTTO1423"
	badOutput          Code = "OTTO1424"
	unknownOutput      Code = "OTTO1425"
	badImage           Code = "OTTO1426"
	badCheckout        Code = "OTTO1490"
	badShellCommand    Code = "OTTO1427"
	badMayAdd          Code = "OTTO1428"

	badContainer Code = "OTTO1470"
	powerAsked   Code = "OTTO1471"

	unpinnedImage Code = "OTTO1460"
	unusedParam   Code = "OTTO1461"
	unsureOutput  Code = "OTTO1462"
)

// languageCodes are the rows of these kinds in the table.
func languageCodes() []CodeInfo {
	return []CodeInfo{
		{exprSyntax, SeverityError, "An expression is not CEL"},
		{exprUnknownName, SeverityError, "An expression uses an unknown name"},
		{exprType, SeverityError, "The types of an expression do not fit"},
		{exprCost, SeverityError, "An expression may take too long"},
		{exprFailed, SeverityError, "An expression cannot be evaluated"},
		{exprLater, SeverityError, "A value is known too late"},
		{exprUnclosed, SeverityError, "An expression is not closed"},
		{badParam, SeverityError, "A parameter's declaration cannot be used"},
		{unknownParam, SeverityError, "A parameter is given that the file does not declare"},
		{missingParam, SeverityError, "A required parameter is not given"},
		{badParamValue, SeverityError, "A parameter's value does not fit"},
		{badTrigger, SeverityError, "A trigger cannot be used"},
		{badGlob, SeverityError, "A pattern cannot be used"},
		{badMatrix, SeverityError, "A matrix cannot be used"},
		{duplicateLeg, SeverityError, "A matrix has a leg twice"},
		{tooManyLegs, SeverityError, "A matrix has too many legs"},
		{unknownNeed, SeverityError, "A need is unknown"},
		{laterNeed, SeverityError, "A need comes later"},
		{cyclicNeeds, SeverityError, "Tasks wait for each other"},
		{unknownEnvironment, SeverityError, "An environment is not declared"},
		{badConcurrency, SeverityError, "A concurrency cannot be used"},
		{badOutput, SeverityError, "An output's declaration cannot be used"},
		{unknownOutput, SeverityError, "An output is read that is not there"},
		{badImage, SeverityError, "The name of an image cannot be used"},
		{badShellCommand, SeverityError, "A shell cannot be used"},
		{badMayAdd, SeverityError, "A task cannot add these tasks"},
		{badCheckout, SeverityError, "A checkout cannot be like this"},
		{badContainer, SeverityError, "A container cannot be made like this"},
		{powerAsked, SeverityHint, "A task asks for power over its host"},
		{unpinnedImage, SeverityWarning, "An image may change"},
		{unusedParam, SeverityHint, "A parameter is not used"},
		{unsureOutput, SeverityWarning, "An output is read of a task that may not run"},
	}
}
