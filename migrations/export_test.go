package migrations

// What the tests, which live outside the package because dbtest imports it, may reach.
const LockKey = lockKey

var (
	CheckServer  = checkServer
	ExecuteFiles = executeFiles
)
