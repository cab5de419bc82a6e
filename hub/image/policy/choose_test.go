package policy

import (
	"math/rand/v2"
	"testing"

	. "github.com/onsi/gomega"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

func semVer(r string) imagev1.ImagePolicyChoice {
	return imagev1.ImagePolicyChoice{SemVer: &imagev1.SemVerPolicy{Range: r}}
}

func alphabetical(order string) imagev1.ImagePolicyChoice {
	return imagev1.ImagePolicyChoice{Alphabetical: &imagev1.AlphabeticalPolicy{Order: order}}
}

func numerical(order string) imagev1.ImagePolicyChoice {
	return imagev1.ImagePolicyChoice{Numerical: &imagev1.NumericalPolicy{Order: order}}
}

func TestChoose(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tags   []string
		policy imagev1.ImagePolicyChoice
		filter *imagev1.TagFilter
		want   string
	}{
		{name: "highest version of the range", tags: []string{"1.0.0", "1.10.0", "1.9.0", "2.0.0"}, policy: semVer(">=1.0.0 <2.0.0"), want: "1.10.0"},
		{name: "a leading v", tags: []string{"v1.0.0", "v1.2.0"}, policy: semVer("1.x"), want: "v1.2.0"},
		{name: "what is no version is left out", tags: []string{"latest", "1.0.0", "1.2", "sha-1234567"}, policy: semVer(">=1.0.0"), want: "1.0.0"},
		{name: "no pre-release unless named", tags: []string{"1.0.0", "1.1.0-rc.1"}, policy: semVer(">=1.0.0"), want: "1.0.0"},
		{name: "pre-releases when the range names one", tags: []string{"1.0.0", "1.1.0-rc.1", "1.1.0-rc.2"}, policy: semVer(">=1.0.0-0"), want: "1.1.0-rc.2"},
		{name: "version that a pattern extracts", tags: []string{"web-1.2.0", "web-1.11.0", "api-9.0.0"}, policy: semVer("*"),
			filter: &imagev1.TagFilter{Pattern: "^web-(?P<v>.*)$", Extract: "$v"}, want: "web-1.11.0"},
		{name: "last letter", tags: []string{"xenial", "yakkety", "zesty", "artful"}, policy: alphabetical("asc"), want: "zesty"},
		{name: "last letter by default", tags: []string{"a", "c", "b"}, policy: alphabetical(""), want: "c"},
		{name: "first letter", tags: []string{"b", "a", "c"}, policy: alphabetical("desc"), want: "a"},
		{name: "largest number, not text", tags: []string{"9", "100", "20"}, policy: numerical("asc"), want: "100"},
		{name: "smallest number", tags: []string{"9", "-1.5", "20"}, policy: numerical("desc"), want: "-1.5"},
		{name: "number that a numbered group extracts", tags: []string{"main-aaa-5", "main-bbb-40", "dev-ccc-99"}, policy: numerical("asc"),
			filter: &imagev1.TagFilter{Pattern: "^main-[a-z]+-(\\d+)", Extract: "$1"}, want: "main-bbb-40"},
		{name: "braces round the group", tags: []string{"r1x", "r2x"}, policy: alphabetical("asc"),
			filter: &imagev1.TagFilter{Pattern: "r(\\d)x", Extract: "v${1}0"}, want: "r2x"},
		{name: "equal values: the last tag in the order of text", tags: []string{"v1.0.0", "1.0.0"}, policy: semVer("*"), want: "v1.0.0"},
		{name: "filter without extract compares the tag", tags: []string{"a-1", "b-2", "a-3"}, policy: alphabetical("asc"),
			filter: &imagev1.TagFilter{Pattern: "^a-"}, want: "a-3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			spec := &imagev1.ImagePolicySpec{Policy: tc.policy, FilterTags: tc.filter}
			for range 5 {
				rand.Shuffle(len(tc.tags), func(i, j int) { tc.tags[i], tc.tags[j] = tc.tags[j], tc.tags[i] })
				got, err := choose(tc.tags, spec)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(got).To(Equal(tc.want), "order of the input: %v", tc.tags)
			}
		})
	}
}

func TestChooseRefuses(t *testing.T) {
	both := semVer("*")
	both.Alphabetical = &imagev1.AlphabeticalPolicy{}
	for _, tc := range []struct {
		name    string
		tags    []string
		policy  imagev1.ImagePolicyChoice
		filter  *imagev1.TagFilter
		kind    error
		mention []string
	}{
		{name: "no order", policy: imagev1.ImagePolicyChoice{}, kind: errInvalid, mention: []string{"spec.policy", "semver"}},
		{name: "two orders", policy: both, kind: errInvalid, mention: []string{"sets 2"}},
		{name: "range that does not parse", policy: semVer("one"), kind: errInvalid, mention: []string{"spec.policy.semver.range", "one"}},
		{name: "pattern that does not compile", tags: []string{"1"}, policy: numerical("asc"), filter: &imagev1.TagFilter{Pattern: "("}, kind: errInvalid, mention: []string{"spec.filterTags.pattern"}},
		{name: "no tags", policy: semVer("*"), kind: errNoTag, mention: []string{"the repository has none"}},
		{name: "nothing matches", tags: []string{"a"}, policy: semVer("*"), filter: &imagev1.TagFilter{Pattern: "^b"}, kind: errNoTag, mention: []string{`"^b"`}},
		{name: "no version in range", tags: []string{"1.0.0", "x"}, policy: semVer("2.x"), kind: errNoTag, mention: []string{"2.x", "among 2"}},
		{name: "not a number", tags: []string{"1", "latest"}, policy: numerical("asc"), mention: []string{`"latest"`, "spec.filterTags"}},
		{name: "not a number that compares", tags: []string{"1", "NaN"}, policy: numerical("asc"), mention: []string{`"NaN"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := choose(tc.tags, &imagev1.ImagePolicySpec{Policy: tc.policy, FilterTags: tc.filter})
			g.Expect(err).To(HaveOccurred())
			if tc.kind != nil {
				g.Expect(err).To(MatchError(tc.kind))
			}
			for _, text := range tc.mention {
				g.Expect(err.Error()).To(ContainSubstring(text))
			}
		})
	}
}
