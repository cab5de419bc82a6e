// Package clouds stands for the token services of Amazon, Microsoft and Google,
// at their own names on a testenv.Internet: what asks them is the vendors' own
// code, and it is not told that this is a test.
//
// They verify what they get: the signature and the audience of a token of a
// ServiceAccount, the signature of a request, the password of a client. What they
// give is good for what it was given for alone.
package clouds
