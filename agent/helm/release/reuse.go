package release

import (
	"maps"

	helmrelease "helm.sh/helm/v3/pkg/release"
)

// Current is the record whose values an upgrade that keeps values has beneath its
// own, as Helm chooses it: the newest that is deployed, or else the newest. The
// records are the newest first; nil when there are none.
func Current(records []Record) *Record {
	for i := range records {
		if records[i].Status == helmrelease.StatusDeployed {
			return &records[i]
		}
	}
	if len(records) == 0 {
		return nil
	}
	return &records[0]
}

// Reused are the values that a release gets that keeps those of an earlier one
// beneath its own, as helm upgrade --reuse-values has it: null takes away what
// was there.
func Reused(earlier, values map[string]any) map[string]any {
	all := maps.Clone(values)
	if all == nil {
		all = map[string]any{}
	}
	for key, old := range earlier {
		own, given := all[key]
		below, wasMap := old.(map[string]any)
		above, isMap := own.(map[string]any)
		switch {
		case !given:
			all[key] = old
		case own == nil && old != nil:
			delete(all, key)
		case wasMap && isMap:
			all[key] = Reused(below, above)
		}
	}
	return all
}

// Keeps says whether a release that has the earlier values would stay as it is
// with these above them. What is null, and what is not there, is the same.
func Keeps(earlier, values map[string]any) (bool, error) {
	was, err := ConfigDigest(withoutNulls(earlier))
	if err != nil {
		return false, err
	}
	is, err := ConfigDigest(withoutNulls(Reused(earlier, values)))
	return was == is, err
}

func withoutNulls(values map[string]any) map[string]any {
	kept := make(map[string]any, len(values))
	for key, value := range values {
		switch value := value.(type) {
		case nil:
		case map[string]any:
			kept[key] = withoutNulls(value)
		default:
			kept[key] = value
		}
	}
	return kept
}
