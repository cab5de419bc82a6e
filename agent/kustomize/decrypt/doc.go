// Package decrypt opens what SOPS has encrypted, with the keys that one
// Kustomization was given.
//
// It promises that
//   - a key is used for those alone who brought it: there is no lookup in the
//     process's environment, home directory or agents, except for the cloud
//     identity of the process, as in Flux, where no ServiceAccount is named;
//   - where one is, clouds are asked in its name and in no other;
//   - an error names the file, the object and the kind of key, and never shows
//     a key or what was encrypted;
//   - no key service holds a build up for longer than half a minute;
//   - keys are read when something is to be decrypted, not before.
//
// It does not verify SOPS's checksum over the whole file: kustomize has changed
// the objects since they were encrypted. PGP is done in process: no gpg runs,
// and no keyring is on disk.
//
// It is a package of its own because SOPS brings the clients of every cloud.
package decrypt
