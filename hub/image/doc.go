// Package image keeps what scans of registries have found: the tags of each
// ImageRepository, for the ImagePolicies that choose among them. The kinds are
// in packages of their own: repository scans, policy chooses, automation
// writes into Git.
//
// It promises that what it gives out is what was scanned: a file that is lost or
// damaged counts as no scan, and the next scan makes it anew. So the files need
// neither backup nor care.
//
// Tags are in files and not in the API, because a repository may have tens of
// thousands of them, and in no database, because each list is read and written
// as a whole.
package image
