package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api"
	"github.com/shannon-control/scu/broker"
)

// Every setting of the program, in one place. A setting is a flag (--db-path), a
// variable (SCU_DB_PATH) and a key of the settings file (db-path or db_path), and
// is taken from the first of these that has it, else it has its default. The file
// is YAML or JSON, named by --config-file or SCU_CONFIG. A variable that is empty
// counts as not set. Lists are separated by commas. A secret can also come from a
// file that a variable names: SCU_API_KEY_FILE, as container runtimes mount them.

// Settings are the values of all settings.
type Settings struct {
	APIURL string `koanf:"api-url"`
	APIKey string `koanf:"api-key"`

	Listen           string   `koanf:"listen"`
	Data             string   `koanf:"data"`
	DataDirs         []string `koanf:"data-dirs"`
	ModelDirs        []string `koanf:"model-dirs"`
	AllowPrivateURLs bool     `koanf:"allow-private-urls"`
	WebhookKey       string   `koanf:"webhook-key"`
	MaxFileBytes     int64    `koanf:"max-file-bytes"`

	OwnerMaxQueued  int      `koanf:"owner-max-queued"`
	OwnerMaxRunning int      `koanf:"owner-max-running"`
	OwnerMaxFiles   int      `koanf:"owner-max-files"`
	OwnerMaxBytes   int64    `koanf:"owner-max-bytes"`
	KeyRate         float64  `koanf:"key-rate"`
	AddressRate     float64  `koanf:"address-rate"`
	TrustedProxies  []string `koanf:"trusted-proxies"`

	NATSURL    string        `koanf:"nats-url"`
	ArbiterURL string        `koanf:"arbiter-nats-url"`
	NATSListen string        `koanf:"nats-listen"`
	ClaimTime  time.Duration `koanf:"claim-time"`
	Ageing     time.Duration `koanf:"ageing"`
	Replicas   int           `koanf:"replicas"`

	LogMaxBytes     int64         `koanf:"log-max-bytes"`
	MetricsMaxBytes int64         `koanf:"metrics-max-bytes"`
	StoreMaxBytes   int64         `koanf:"store-max-bytes"`
	MetricsMaxAge   time.Duration `koanf:"metrics-max-age"`

	DBPath string `koanf:"db-path"`
	DBURL  string `koanf:"db-url"`

	MaxConcurrentJobs int      `koanf:"max-concurrent-jobs"`
	TuneGPU           bool     `koanf:"tune-gpu"`
	GPUs              []string `koanf:"gpus"`
	GPUMemory         int64    `koanf:"gpu-memory"`
	Threads           int      `koanf:"threads"`
	CacheBytes        int64    `koanf:"cache-bytes"`
	TrainerName       string   `koanf:"trainer-name"`
	HFToken           string   `koanf:"hf-token"`

	Keep []string `koanf:"keep"`

	VerifyEvery time.Duration `koanf:"verify-every"`
	VerifyRate  int64         `koanf:"verify-rate"`

	Blobs       string `koanf:"blobs"`
	S3Endpoint  string `koanf:"s3-endpoint"`
	S3Region    string `koanf:"s3-region"`
	S3AccessKey string `koanf:"s3-access-key"`
	S3SecretKey string `koanf:"s3-secret-key"`

	FilesDir       string `koanf:"files-dir"`
	AdaptersDir    string `koanf:"adapters-dir"`
	CheckpointsDir string `koanf:"checkpoints-dir"`
	LogsDir        string `koanf:"logs-dir"`
	LogLevel       string `koanf:"log-level"`
	MetricsListen  string `koanf:"metrics-listen"`

	file string            // the settings file that was read, "" if none was
	from map[string]string // where a setting's value comes from; defaults aren't there
}

// setting describes one of them: its default, whose type is the setting's, and
// what it does and what may go wrong.
type setting struct {
	name  string
	value any
	usage string
}

var settings = []setting{
	{"api-url", "http://localhost:8000", "address of the server, for the client commands"},
	{"api-key", "", "key that the server asks for and that clients send; other users of the machine can see a flag, so prefer the variable"},

	{"listen", "127.0.0.1:8000", "address of the API, port 0 for any; beyond loopback it needs an API key, and is not encrypted: put a TLS proxy before it"},
	{"data", "scu-data", "folder of everything that a server keeps; losing it loses jobs and adapters"},
	{"data-dirs", []string(nil), "folders on the server below which jobs may name training data; for serve by default the working directory, for api none. Whoever may submit can train on what lies there, hidden files excepted"},
	{"model-dirs", []string(nil), "the same for base models; by default data-dirs"},
	{"allow-private-urls", false, "allow data URLs and webhooks that point to private addresses; anyone who may submit can then read what the server can reach in its network"},
	{"webhook-key", "", "what the secrets of webhooks are derived from, at least 32 characters: the same for all APIs of a service, or the messages of some have wrong signatures; by default webhook.key in the data folder, which is made. Other users of the machine can see a flag, so prefer the variable"},
	{"max-file-bytes", int64(api.DefaultMaxFileBytes), "largest data file that is accepted"},

	{"owner-max-queued", 0, "how many jobs of an owner (scu keys) may wait; a key may say another number for its owner. 0 means any number, and the administrator's jobs are never limited"},
	{"owner-max-running", 0, "how many jobs of an owner run at once, likewise; more wait in the queue"},
	{"owner-max-files", 20_000, "how many files an owner may keep, likewise. The list of who has which holds some 200,000 of all owners together: once it is full, nobody can store another"},
	{"owner-max-bytes", int64(0), "how many bytes of files an owner may keep, likewise"},
	{"key-rate", 1000.0, "how many requests a second a key may make, with twice as many at once; 0 means any number"},
	{"address-rate", 100.0, "the same for an address that shows no key where one is needed"},
	{"trusted-proxies", []string(nil), "networks of reverse proxies, such as 10.0.0.0/8, that are believed when they say for whom they ask (X-Forwarded-For). Whoever else can reach the server from there can claim any address"},

	{"nats-url", "", "NATS server for the roles api, trainer and projector, with user and password; serve runs its own"},
	{"arbiter-nats-url", "", "for the role projector: the same NATS server with the login of an arbiter; the projector answers trainers then, so that they go on while no API runs. Default: it answers none"},
	{"nats-listen", "", "loopback address where serve's own NATS accepts trainers of other processes, such as 127.0.0.1:4222; default: none"},
	{"claim-time", 30 * time.Second, "how long a silent trainer keeps its job before another gets it; must be the same for every role. Short times take jobs away from trainers that are only slow"},
	{"ageing", scu.DefaultAgeing, "wait in the queue that counts as one point of priority, so that a job of low priority starts however many of high priority come; must be the same for every role. 0: none does"},
	{"replicas", 0, "servers of a NATS cluster that keep each stream; 0 is 3 in a cluster, which lets one of three fail, and 1 without one. A start never lowers what a stream has, and is refused if the cluster can't"},

	{"log-max-bytes", int64(0), "limit of the log of jobs in NATS, which keeps so much free for it; 0 is what it was, at first 16 GiB, less if NATS has no such room, or twice what an older version stored. No new jobs are taken in when the rest is needed by those that have not ended; nothing is deleted"},
	{"store-max-bytes", int64(0), "the same for each of NATS's object stores: adapters with their checkpoints, what interrupted runs go on from, and, of \"scu api\", files; at first 64 GiB of \"scu serve\", and none elsewhere. What would go beyond it is refused"},
	{"metrics-max-bytes", int64(0), "the same for the steps of jobs, at first 64 GiB. Beyond it the oldest steps leave NATS: the read model keeps them until it is rebuilt"},
	{"metrics-max-age", broker.DefaultMetricsAge, "age at which steps leave NATS, likewise"},

	{"db-path", "", "SQLite file of the read model; by default scu.db in the data folder"},
	{"db-url", "", "PostgreSQL database of the read model, postgres://user:password@host/name, instead of SQLite"},

	{"max-concurrent-jobs", 1, "trainers in this process, each running one job; they share the threads, and each needs the memory of its job"},
	{"gpus", []string(nil), "GPUs to train on, a trainer each, by nvidia-smi's numbers or UUIDs, such as 0,2; by default all that the process sees (CUDA_VISIBLE_DEVICES)"},
	{"gpu-memory", int64(0), "the most that a trainer takes of its GPU's memory, in MiB, the driver's share included, for cards that others use too; 0 means all. What doesn't fit is kept in the host's memory or computed again, which takes longer, to the same bytes"},
	{"tune-gpu", false, "let a GPU time cuBLASLt's ways to make each size of product, once, and keep the fastest in cache in the data folder. Little is won where it was measured, and the same job then has the same bytes only on machines that share the cublaslt-*.json there"},
	{"threads", 0, "CPU threads for training, shared by the trainers; 0 means one per core"},
	{"cache-bytes", int64(32 << 30), "disk space for tokenised data, in cache in the data folder: what was used longest ago is deleted first; 0 means no limit. A job writes the tokens of its data there in any case"},
	{"trainer-name", "", "name of this process's trainers; by default the host's name and the process id. Two trainers of one name take each other's cancels"},
	{"hf-token", "", "Hugging Face token for gated models and uploads; by default HF_TOKEN, or what huggingface-cli stored"},

	{"blobs", "", "where data, adapters and checkpoints are kept: nats, dir:PATH on a disk that all roles share, or s3://bucket/prefix; the same for every role. Default: adapters in NATS, files as files-dir says, checkpoints with their trainer. What is stored isn't moved when it changes: jobs of before lose their data and adapters"},
	{"s3-endpoint", "", "address of the S3 server, https://host:port; default: Amazon's. Over http:// everybody on the way reads and changes what is stored"},
	{"s3-region", "", "region of the bucket, if the server asks for one"},
	{"s3-access-key", "", "key that logs in to S3; by default that of AWS's variables or credentials file, or the machine's role. Trainers need less than the API: see docs/operations.md"},
	{"s3-secret-key", "", "secret of the access key; other users of the machine can see a flag, so prefer the variable"},

	{"keep", []string(nil), "what is kept, by age and size, such as jobs=90d,files=500GB (also checkpoints); an API looks every hour. Jobs go when they have ended, with metrics, adapter and kept checkpoints, for good; files when nothing unfinished reads them, and a retry of a job then fails for want of them. Default: everything"},

	{"verify-every", 7 * 24 * time.Hour, "how often all stored data, adapters and checkpoints are read to see whether they are damaged, by one of the APIs; 0 means only when scu blobs verify asks"},
	{"verify-rate", int64(20e6), "bytes a second that this reads"},

	{"files-dir", "", "folder of uploads and data sets, where roles share a disk; by default files in serve's data folder, and NATS's object store for roles with a nats-url"},
	{"adapters-dir", "", "folder that also gets each finished adapter, as <job>_adapter.zip; default: none, adapters are kept in NATS"},
	{"checkpoints-dir", "", "folder of running jobs' checkpoints; by default checkpoints in the data folder. Trainers that share it go on from each other's"},
	{"logs-dir", "", "folder that also gets the log, as JSON lines in scu.log, which is never rotated; default: none, the log goes to stderr"},
	{"log-level", "info", "debug, info, warn or error"},
	{"metrics-listen", "", "address where a trainer or projector tells Prometheus its metrics (/metrics), its health (/livez, /readyz) and profiles (/debug/pprof/); default: none. Beyond loopback it asks for the API key"},
}

// Names of the settings that each kind of command has as flags.
var (
	clientSettings  = []string{"api-url", "api-key"}
	logSettings     = []string{"logs-dir", "log-level"}
	storeSettings   = []string{"db-path", "db-url"}
	blobSettings    = []string{"blobs", "s3-endpoint", "s3-region", "s3-access-key", "s3-secret-key"}
	apiSettings     = []string{"listen", "keep", "verify-every", "verify-rate", "log-max-bytes", "metrics-max-bytes", "store-max-bytes", "metrics-max-age", "data-dirs", "model-dirs", "allow-private-urls", "webhook-key", "max-file-bytes", "owner-max-queued", "owner-max-running", "owner-max-files", "owner-max-bytes", "key-rate", "address-rate", "trusted-proxies", "cache-bytes", "hf-token"}
	trainerSettings = []string{"max-concurrent-jobs", "gpus", "gpu-memory", "tune-gpu", "threads", "cache-bytes", "checkpoints-dir", "hf-token"}
	serveFlags      = slices.Concat([]string{"data", "nats-listen", "claim-time", "ageing", "files-dir", "adapters-dir"}, apiSettings, trainerSettings, blobSettings, storeSettings, logSettings)
	apiFlags        = slices.Concat([]string{"data", "nats-url", "claim-time", "ageing", "replicas", "files-dir", "adapters-dir"}, apiSettings, blobSettings, storeSettings, logSettings)
	trainerFlags    = slices.Concat([]string{"data", "nats-url", "claim-time", "ageing", "files-dir", "trainer-name", "metrics-listen"}, trainerSettings, blobSettings, logSettings)
	projectorFlags  = slices.Concat([]string{"data", "nats-url", "arbiter-nats-url", "claim-time", "ageing", "files-dir", "metrics-listen"}, blobSettings, storeSettings, logSettings)
)

// configFile is the flag that names the settings file, and configVariable the
// variable.
const (
	configFile     = "config-file"
	configVariable = "SCU_CONFIG"
)

// settingFlag marks the flags of settings: some commands have others by the same name.
const settingFlag = "setting"

// addFlags gives a command the flags of the named settings.
func addFlags(fs *pflag.FlagSet, names []string) {
	for _, s := range settings {
		if !slices.Contains(names, s.name) || fs.Lookup(s.name) != nil {
			continue
		}
		usage := s.usage + " [" + variable(s.name) + "]"
		switch v := s.value.(type) {
		case string:
			fs.String(s.name, v, usage)
		case bool:
			fs.Bool(s.name, v, usage)
		case int:
			fs.Int(s.name, v, usage)
		case int64:
			fs.Int64(s.name, v, usage)
		case float64:
			fs.Float64(s.name, v, usage)
		case time.Duration:
			fs.Duration(s.name, v, usage)
		case []string:
			fs.StringSlice(s.name, v, usage)
		}
		fs.Lookup(s.name).Annotations = map[string][]string{settingFlag: nil}
	}
}

// variable is the environment variable of a setting.
func variable(name string) string {
	return "SCU_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// find returns the setting of a variable's or a key's name.
func find(name string) (setting, bool) {
	name = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "SCU_")), "_", "-")
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
	if i < 0 {
		return setting{}, false
	}
	return settings[i], true
}

// loadSettings reads the settings of a command: defaults, then what the file has
// over them, then the variables, then the flags that were given.
func loadSettings(flags *pflag.FlagSet) (Settings, error) {
	var out Settings
	defaults := map[string]any{}
	for _, s := range settings {
		defaults[s.name] = s.value
	}
	fileName := os.Getenv(configVariable)
	if f := flags.Lookup(configFile); f != nil && f.Changed {
		fileName = f.Value.String()
	}
	fromFile, err := readConfigFile(fileName)
	if err != nil {
		return out, err
	}
	fromSecretFiles, err := readSecretFiles()
	if err != nil {
		return out, err
	}
	from := map[string]string{}
	for _, layer := range []struct {
		name   string
		from   koanf.Provider
		origin func(key string) string // nil for the defaults
	}{
		{"the defaults", confmap.Provider(defaults, ""), nil},
		{fileName, confmap.Provider(fromFile, ""), func(string) string { return fileName }},
		{"a variable", env.Provider(".", env.Opt{Prefix: "SCU_", TransformFunc: func(name, value string) (string, any) {
			s, ok := find(name)
			if !ok || value == "" {
				return "", nil
			}
			return s.name, value
		}}), variable},
		{"a secret's file", confmap.Provider(fromSecretFiles, ""), secretVariable},
		{"a flag", posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
			if _, ok := f.Annotations[settingFlag]; !ok || !f.Changed {
				return "", nil
			}
			return f.Name, posflag.FlagVal(flags, f)
		}), func(key string) string { return "--" + key }},
	} {
		k := koanf.New(".")
		if err := k.Load(layer.from, nil); err != nil {
			return out, scu.Errorf(scu.CodeInvalid, "%s: %w", layer.name, err)
		}
		if err := unmarshal(k, &out); err != nil {
			var bad *mapstructure.DecodeError
			if errors.As(err, &bad) { // err itself is several lines
				err = fmt.Errorf("%s: %w", bad.Name(), plainWords(bad.Unwrap()))
			}
			return out, scu.Errorf(scu.CodeInvalid, "a setting in %s has the wrong form: %w", layer.name, err).
				WithHint("see: scu help settings")
		}
		if layer.origin != nil {
			for _, key := range k.Keys() {
				from[key] = layer.origin(key)
			}
		}
	}
	out.file, out.from = fileName, from
	return out, out.check()
}

// unmarshal lays what k has over s.
func unmarshal(k *koanf.Koanf, s *Settings) error {
	return k.UnmarshalWithConf("", s, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: s, TagName: "koanf", WeaklyTypedInput: true, ZeroFields: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	}})
}

// readConfigFile reads a settings file; "" is none. A key that is no setting is
// refused by name.
func readConfigFile(name string) (map[string]any, error) {
	if name == "" {
		return nil, nil
	}
	k := koanf.New("\x00") // keys hold no such delimiter: nothing is split
	if err := k.Load(file.Provider(name), yaml.Parser()); err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "the settings file can't be read: %w", err).WithHint("it is YAML or JSON; see: scu help settings")
	}
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(k.Raw())) {
		s, ok := find(key)
		if !ok {
			return nil, scu.Errorf(scu.CodeInvalid, "%s: no setting %q", name, key).WithHint("scu help settings lists them")
		}
		out[s.name] = k.Raw()[key]
	}
	return out, nil
}

// secrets are the settings whose value may lie in a file of its own.
var secrets = []string{"api-key", "nats-url", "arbiter-nats-url", "db-url", "hf-token", "webhook-key", "s3-access-key", "s3-secret-key"}

// secretVariable names the variable that holds the path of a secret's file.
func secretVariable(name string) string { return variable(name) + "_FILE" }

// maxSecret bounds a secret's file, in bytes.
const maxSecret = 16 << 10

// secretFiles are the files that hold secrets.
func secretFiles() (paths []string) {
	for _, name := range secrets {
		if path := os.Getenv(secretVariable(name)); path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// readSecretFiles reads the files that the variables <setting>_FILE name.
func readSecretFiles() (map[string]any, error) {
	out := map[string]any{}
	for _, name := range secrets {
		v := secretVariable(name)
		path := os.Getenv(v)
		if path == "" {
			continue
		}
		if os.Getenv(variable(name)) != "" {
			return nil, scu.Errorf(scu.CodeInvalid, "both %s and %s are set", variable(name), v).WithHint("unset one of them")
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "%s: %w", v, err)
		}
		b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
		f.Close()
		switch {
		case err != nil:
			return nil, scu.Errorf(scu.CodeInvalid, "%s: %w", v, err)
		case len(b) > maxSecret:
			return nil, scu.Errorf(scu.CodeInvalid, "%s: %s has more than %d bytes", v, path, maxSecret)
		}
		value := strings.TrimSpace(string(b))
		if value == "" {
			return nil, scu.Errorf(scu.CodeInvalid, "%s: %s is empty", v, path)
		}
		out[name] = value
	}
	return out, nil
}

// check refuses values that no command can use.
func (s *Settings) check() error {
	var level = strings.ToLower(s.LogLevel)
	for _, bad := range []struct {
		is   bool
		name string
		want string
	}{
		{!slices.Contains([]string{"debug", "info", "warn", "error"}, level), "log-level", "debug, info, warn or error"},
		{s.MaxConcurrentJobs < 1 || s.MaxConcurrentJobs > 1024, "max-concurrent-jobs", "1 to 1024"},
		{s.GPUMemory < 0 || s.GPUMemory > 0 && s.GPUMemory <= scu.GPUContext>>20 || s.GPUMemory > 1<<20, "gpu-memory", fmt.Sprintf("0, or %d (of which the driver takes %d) to %d MiB", scu.GPUContext>>20+1, scu.GPUContext>>20, 1<<20)},
		{s.Threads < 0 || s.Threads > 4096, "threads", "0 to 4096"},
		{s.WebhookKey != "" && len(s.WebhookKey) < webhookKeyBytes, "webhook-key", "at least 32 characters"},
		{s.MaxFileBytes < 1, "max-file-bytes", "a number above 0"},
		{s.OwnerMaxQueued < 0, "owner-max-queued", "0 or a number above it"},
		{s.OwnerMaxRunning < 0, "owner-max-running", "0 or a number above it"},
		{s.OwnerMaxFiles < 0, "owner-max-files", "0 or a number above it"},
		{s.OwnerMaxBytes < 0, "owner-max-bytes", "0 or a number above it"},
		{!(s.KeyRate >= 0 && s.KeyRate <= 1e6), "key-rate", "0 to 1000000"},
		{!(s.AddressRate >= 0 && s.AddressRate <= 1e6), "address-rate", "0 to 1000000"},
		{s.CacheBytes < 0, "cache-bytes", "0 or a number above it"},
		{s.ClaimTime < time.Second, "claim-time", "at least 1s"},
		{s.Ageing < 0 || s.Ageing > 0 && s.Ageing < time.Millisecond || s.Ageing > 24*time.Hour, "ageing", "0, or 1ms to 24h"},
		{s.LogMaxBytes != 0 && s.LogMaxBytes < broker.LeastBytes, "log-max-bytes", "0, or at least 16 MiB"},
		{s.StoreMaxBytes != 0 && s.StoreMaxBytes < broker.LeastBytes, "store-max-bytes", "0, or at least 16 MiB"},
		{s.MetricsMaxBytes != 0 && s.MetricsMaxBytes < broker.LeastBytes, "metrics-max-bytes", "0, or at least 16 MiB"},
		{s.MetricsMaxAge < time.Hour, "metrics-max-age", "at least an hour"},
		{s.VerifyEvery < 0 || s.VerifyEvery > 0 && s.VerifyEvery < time.Minute, "verify-every", "0, or at least a minute"},
		{s.VerifyRate < 1e5, "verify-rate", "at least 100000"},
		{s.Replicas < 0 || s.Replicas > 5, "replicas", "0 to 5"},
		{s.Data == "", "data", "a folder"},
	} {
		if bad.is {
			return scu.Errorf(scu.CodeInvalid, "--%s (%s) must be %s", bad.name, variable(bad.name), bad.want)
		}
	}
	return s.checkBlobs()
}

// within is a folder of the data folder, unless a setting names another.
func (s *Settings) within(setting, name string) string {
	if setting != "" {
		return setting
	}
	return filepath.Join(s.Data, name)
}

// settingsHelp is the text of scu help settings.
func settingsHelp() string {
	var b strings.Builder
	b.WriteString("A setting is a flag, a variable, or a key of the settings file; the first of these\n" +
		"that has it counts. The file is YAML or JSON, named by --" + configFile + " or " + configVariable + ".\n" +
		"A variable that is empty counts as not set. Lists are separated by commas.\n" +
		"Secrets can also come from files that variables name:\n")
	for _, name := range secrets {
		b.WriteString("    " + secretVariable(name) + "\n")
	}
	for _, s := range settings {
		def := fmt.Sprint(s.value)
		if list, ok := s.value.([]string); ok {
			def = strings.Join(list, ",")
		}
		if def != "" {
			def = " (default " + def + ")"
		}
		fmt.Fprintf(&b, "\n--%s, %s%s\n", s.name, variable(s.name), def)
		for _, line := range wrap(s.usage, 76) {
			b.WriteString("    " + line + "\n")
		}
	}
	return b.String()
}

// wrap breaks a text into lines of at most width bytes, where words allow it.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// plainWords is an error of decoding a setting without the names of Go's types.
func plainWords(err error) error {
	var kind *mapstructure.UnconvertibleTypeError
	var text *mapstructure.ParseError
	var want reflect.Value
	var got any
	switch {
	case errors.As(err, &kind):
		want, got = kind.Expected, kind.Value
	case errors.As(err, &text):
		want, got = text.Expected, text.Value
	default:
		return err
	}
	name := "a text"
	switch want.Kind() {
	case reflect.Int, reflect.Int64:
		name = "a whole number"
	case reflect.Float64:
		name = "a number"
	case reflect.Bool:
		name = "true or false"
	case reflect.Slice:
		name = "a list"
	}
	if s, ok := got.(string); ok {
		got = strconv.Quote(s)
	}
	return fmt.Errorf("want %s, got %.80s", name, fmt.Sprint(got))
}
