package artifact

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestGarbage(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	ago := func(name string, age time.Duration) file { return file{name: name, time: now.Add(-age)} }
	for _, c := range []struct {
		name    string
		files   []file
		current string
		want    []string
	}{
		{name: "nothing"},
		{name: "the current one stays, however old", files: []file{ago("a", time.Hour)}, current: "a"},
		{name: "what is older than the ttl goes", current: "a",
			files: []file{ago("a", time.Hour), ago("b", 61*time.Second)}, want: []string{"b"}},
		{name: "exactly the ttl stays", current: "a",
			files: []file{ago("a", 0), ago("b", time.Minute)}},
		{name: "at most two, oldest first, the current one counted", current: "c",
			files: []file{ago("a", 3*time.Second), ago("b", 9*time.Second), ago("c", 20*time.Second), ago("d", 5*time.Second)},
			want:  []string{"b", "d"}},
		{name: "no current: the newest two stay", current: ".",
			files: []file{ago("a", 3*time.Second), ago("b", 9*time.Second), ago("c", 20*time.Second)}, want: []string{"c"}},
		{name: "a current that is not there is not counted", current: "x",
			files: []file{ago("a", 3*time.Second), ago("b", 9*time.Second)}},
		{name: "equal times hide nothing", current: "a",
			files: []file{ago("c", time.Second), ago("b", time.Second), ago("a", time.Second)}, want: []string{"b"}},
		{name: "from the future stays", current: "a",
			files: []file{ago("a", 0), ago("b", -time.Hour)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := retention{ttl: time.Minute, records: 2}.garbage(c.files, c.current, now)
			NewWithT(t).Expect(got).To(Equal(c.want))
		})
	}
}

func TestEvictions(t *testing.T) {
	used := func(name string, size, at int64) file { return file{name: name, size: size, time: time.Unix(at, 0)} }
	for _, c := range []struct {
		name  string
		files []file
		keep  string
		want  []string
	}{
		{name: "fits", files: []file{used("a", 60, 1), used("b", 40, 2)}},
		{name: "least recently used first", files: []file{used("a", 60, 3), used("b", 30, 1), used("c", 30, 2)}, want: []string{"b"}},
		{name: "as many as needed", files: []file{used("a", 90, 3), used("b", 30, 1), used("c", 30, 2)}, want: []string{"b", "c"}},
		{name: "never the one in use", keep: "b", files: []file{used("a", 60, 3), used("b", 90, 1)}, want: []string{"a"}},
		{name: "one in use that is too large alone", keep: "a", files: []file{used("a", 200, 1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			NewWithT(t).Expect(evictions(c.files, c.keep, 100)).To(Equal(c.want))
		})
	}
}
