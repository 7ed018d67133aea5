//! The recipes of the page on containers, run as they stand there: a real Podman, bubblewrap, and the mounts of the others.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::codex::codex_0171;
use super::container::{Network, package};
use crate::keeper::exports::{await_export, export, folder};
use crate::keeper::process::{AT_WORK, Process};
use crate::manager::world::World;
use crate::support::{Ended, Machine, Run, program, search_path};

/// The first block in `language` after the paragraph that begins with `title`.
fn recipe(title: &str, language: &str) -> String {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/CONTAINERS.md")).unwrap();
    let (_, after) = page.split_once(&format!("\n{title}")).unwrap_or_else(|| panic!("no recipe {title}"));
    let (_, block) = after.split_once(&format!("\n```{language}\n")).unwrap();
    block.split_once("\n```").unwrap().0.to_owned()
}

/// A YAML document as JSON, by the parser that `tests/run` installs.
fn yaml(text: &str) -> Value {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/node_modules/yaml");
    let script = "console.log(JSON.stringify(require(process.argv[1]).parse(process.argv[2])))";
    let parsed = Command::new("node").args(["-e", script]).arg(modules).arg(text).output().unwrap();
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    serde_json::from_slice(&parsed.stdout).unwrap()
}

/// The user whom the machine of the rootless recipes belongs to.
const PERSON: u32 = 54_321;

/// Prepares a Podman with an image of its own in its mount and process namespaces, and runs the script `$RECIPE` there
/// as the user `$PERSON`. The image has no files: it sees the system's programs and Codex by mounts.
const PODMAN: &str = r#"
# Podman refuses two versions of control groups at once.
umount /sys/fs/cgroup/unified 2>/dev/null || :
mount -t tmpfs tmpfs /run
cd /run
mkdir -p image/usr image/proc image/dev image/sys image/etc image/run image/opt image/tmp own/runtime
chmod 1777 image/tmp
chmod 700 own/runtime
for name in bin lib lib64; do ln -s usr/$name image/$name; done
tar --directory image --create --file image.tar .
echo "agent:100000:65536" > ids
printf 'root:x:0:0::/:/bin/sh\nagent:x:%s:%s::%s:/bin/sh\n' "$PERSON" "$PERSON" "$HOME" > passwd
for name in subuid subgid; do mount --bind ids /etc/$name; done
echo "agent:x:$PERSON:" > group
for name in passwd group; do mount --bind $name /etc/$name; done
cat > containers.conf << END
[containers]
cgroups = "disabled"
netns = "host"
log_driver = "none"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
volumes = ["/usr:/usr:ro", "$PACKAGE:/opt/codex:ro", "$TOOLS:/opt/tools:ro"]
env = ["PATH=/usr/bin:/opt/tools"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "/run/own/engine"
END
printf '[storage]\ndriver = "vfs"\ngraphroot = "/run/own/images"\nrunroot = "/run/own/state"\n' > storage.conf
chown -R "$PERSON:$PERSON" own
export CONTAINERS_CONF=/run/containers.conf CONTAINERS_STORAGE_CONF=/run/storage.conf
export XDG_RUNTIME_DIR=/run/own/runtime TMPDIR=/run/own
exec setpriv --reuid="$PERSON" --regid="$PERSON" --clear-groups sh -euc '
podman import --quiet image.tar localhost/image >/dev/null
docker() { podman "$@"; }
cd "$HOME"
eval "$RECIPE"'
"#;

/// A machine with a keeper, an export at `~/codex-export` whose `~` is [`Site::home`], and a network with a model.
struct Site<'a> {
    world: World<'a>,
    _keeper: Process,
    network: Network,
    codex: PathBuf,
}

impl<'a> Site<'a> {
    fn new(machine: &'a mut Machine) -> Self {
        let world = World::fresh(machine);
        let keeper = Process::of(&world);
        export(&world, &folder(&world, "codex-export"), &[]);
        Self::with(world, keeper)
    }

    /// A site that belongs to [`PERSON`].
    fn of_person(machine: &'a mut Machine) -> Self {
        let world = World::fresh(machine);
        let home = world.machine.home.path();
        let status = Command::new("chown").args(["-R", "54321:54321"]).arg(home.parent().unwrap()).status();
        assert!(status.unwrap().success());
        let keeper = Process::start(world.codex(["sync", "run"]).by_user(PERSON));
        keeper.until(AT_WORK);
        let folder = folder(&world, "codex-export");
        world.codex(["sync", "export", folder.to_str().unwrap()]).by_user(PERSON).run().expect(0);
        Self::with(world, keeper)
    }

    fn with(world: World<'a>, keeper: Process) -> Self {
        await_export(&world, &folder(&world, "codex-export"));
        Self { world, _keeper: keeper, network: Network::new(), codex: codex_0171() }
    }

    fn home(&self) -> PathBuf {
        self.world.machine.home.path().parent().unwrap().to_owned()
    }

    /// A folder with this program under its second name.
    fn tools(&self) -> PathBuf {
        let tools = self.world.machine.home.beside("tools");
        // A link would lead out of the container.
        fs::hard_link(program(), tools.join("codex-auth"))
            .or_else(|_| fs::copy(program(), tools.join("codex-auth")).map(drop))
            .unwrap();
        tools
    }

    /// The script that sets up Codex as the page says and asks the model.
    fn inside(&self) -> String {
        let setup = recipe("## An unmodified Codex", "sh");
        let settings: Vec<_> =
            self.network.provider.settings().iter().map(|word| format!("'{word}'")).collect();
        format!(
            "export HOME=/tmp/home; mkdir $HOME; cd $HOME\n{setup}\nexec /opt/codex/bin/codex exec \
             --skip-git-repo-check -s read-only {} ping",
            settings.join(" ")
        )
    }

    /// Runs `script` in the network of the site.
    fn run(&self, script: &str, variables: &[(&str, &str)]) -> Ended {
        let option = self.network.option();
        let mut run = Run::of(Path::new("/bin/sh"), ["-euc", script]).env("HOME", self.home());
        for (name, value) in variables {
            run = run.env(name, value);
        }
        run.env("INSIDE", self.inside()).through(["nsenter", &option]).run()
    }

    /// Runs a recipe of Docker or Podman, whose `IMAGE` runs `$INSIDE`.
    fn engine(&self, recipe: &str, person: u32) -> Ended {
        let option = self.network.option();
        let way =
            ["nsenter", &option, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let recipe = recipe.replace("IMAGE", "localhost/image sh -euc \"$INSIDE\"");
        Run::of(Path::new("/bin/sh"), ["-euc", PODMAN])
            .env("HOME", self.home())
            .env("PERSON", person.to_string())
            .env("PACKAGE", package(&self.codex))
            .env("TOOLS", self.tools())
            .env("RECIPE", recipe)
            .env("INSIDE", self.inside())
            .through(way)
            .run()
    }

    /// Codex has answered inside, with the token of this login.
    #[track_caller]
    fn answered(&self, ended: Ended) {
        assert_eq!(ended.expect(0).out, "pong\n");
        assert_eq!(self.network.provider.bearers().last(), Some(&self.world.stored_token("access_token")));
        assert_eq!(self.world.authority.journal().len(), 0);
    }
}

/// The line of the recipe for Docker and Podman that runs `engine`.
fn line(engine: &str) -> String {
    let both = recipe("Docker, and Podman", "sh");
    both.lines().find(|line| line.starts_with(engine)).unwrap().to_owned()
}

#[test]
fn podman_of_an_ordinary_user_runs_an_unmodified_codex() {
    let mut machine = Machine::with_file();
    let site = Site::of_person(&mut machine);
    site.answered(site.engine(&line("podman"), PERSON));
}

/// Podman takes Docker's command line.
#[test]
fn the_command_line_of_docker_runs_an_unmodified_codex() {
    let mut machine = Machine::with_file();
    let site = Site::new(&mut machine);
    site.answered(site.engine(&line("docker"), 0));
}

/// The tools pass `mounts` and `containerEnv` to the engine as options.
#[test]
fn a_devcontainer_runs_an_unmodified_codex() {
    let settings: Value = serde_json::from_str(&recipe("`devcontainer.json`", "json")).unwrap();
    let mut words = "podman run --rm".to_owned();
    for mount in settings["mounts"].as_array().unwrap() {
        words += &format!(" --mount \"{}\"", mount.as_str().unwrap().replace("${localEnv:HOME}", "$HOME"));
    }
    for (name, value) in settings["containerEnv"].as_object().unwrap() {
        words += &format!(" --env {name}={}", value.as_str().unwrap());
    }
    let mut machine = Machine::with_file();
    let site = Site::new(&mut machine);
    site.answered(site.engine(&format!("{words} {}", settings["image"].as_str().unwrap()), 0));
}

#[test]
fn bubblewrap_runs_an_unmodified_codex() {
    let mut machine = Machine::with_file();
    let site = Site::new(&mut machine);
    let recipe = recipe("bubblewrap:", "sh");
    let shown = site.run(&recipe, &[]).expect(0);
    assert_eq!((&*shown.out, &*shown.err), ("auth.json\nsock\n", ""));
    let command = recipe.strip_suffix("ls /run/codex-auth").unwrap();
    let package = package(&site.codex).to_str().unwrap();
    let script = format!("{command} --ro-bind \"$PACKAGE\" /opt/codex sh -euc \"$INSIDE\"");
    site.answered(site.run(&script, &[("PACKAGE", package)]));
}

/// The Pod's containers by Podman, in the order and with the user, mounts and probe that it names. The volumes look as a
/// kubelet makes them for `fsGroup`.
#[test]
fn a_sidecar_of_kubernetes_hands_the_login_to_an_unmodified_codex() {
    let pod = yaml(&recipe("Kubernetes", "yaml"));
    let spec = &pod["spec"];
    let user = &spec["securityContext"]["runAsUser"];
    assert_eq!(user, &spec["securityContext"]["fsGroup"]);
    let [keeper] = spec["initContainers"].as_array().unwrap().as_slice() else { panic!("{spec}") };
    let [agent] = spec["containers"].as_array().unwrap().as_slice() else { panic!("{spec}") };
    assert_eq!(keeper["restartPolicy"], "Always", "a sidecar");
    let run = |container: &Value| {
        let mut words =
            format!("podman run --rm --user {user}:{user} --name {}", container["name"].as_str().unwrap());
        for mount in container["volumeMounts"].as_array().unwrap() {
            let [name, path] = ["name", "mountPath"].map(|key| mount[key].as_str().unwrap());
            assert!(
                spec["volumes"].as_array().unwrap().iter().any(|volume| volume["name"] == name),
                "{name}"
            );
            let below = mount["subPath"].as_str().unwrap_or_default();
            let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
            words += &format!(" --volume \"$HOME/volumes/{name}/{below}:{path}:{mode}\"");
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let [name, value] = ["name", "value"].map(|key| variable[key].as_str().unwrap());
            words += &format!(" --env {name}={value}");
        }
        words
    };
    let command = |list: &Value| {
        list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    let probe = command(&keeper["startupProbe"]["exec"]["command"]);
    let script = format!(
        "mkdir --mode=2775 volumes volumes/login; mkdir --mode=2777 volumes/export
        cp \"$LOGIN\" volumes/login/; chown -R {user}:{user} volumes/login; chown root:{user} volumes/*
        chmod 2777 volumes/export; chmod 2775 volumes/login
        {} --detach localhost/image {} > /dev/null
        until podman exec keeper {probe}; do podman container exists keeper; done
        {} IMAGE",
        run(keeper),
        command(&keeper["command"]),
        run(agent)
    );
    let mut machine = Machine::with_file();
    let site = Site::new(&mut machine);
    let login = site.world.machine.home.document();
    site.answered(site.engine(&script.replace("$LOGIN", login.to_str().unwrap()), 0));
}

/// A step of the workflow, as the runner starts it: by `bash -e`, with both programs on its path.
#[test]
fn a_step_of_github_actions_runs_an_unmodified_codex() {
    let workflow = yaml(&recipe("GitHub Actions", "yaml"));
    let steps = workflow["jobs"]["agent"]["steps"].as_array().unwrap();
    let [step] = steps.as_slice() else { panic!("{workflow}") };
    let mut machine = Machine::with_file();
    let site = Site::new(&mut machine);
    let tools = site.tools();
    let settings: Vec<_> = site.network.provider.settings().iter().map(|word| format!("'{word}'")).collect();
    let shim = format!(
        "#!/bin/sh\nshift\nexec {} exec --skip-git-repo-check -s read-only {} \"$@\"\n",
        site.codex.display(),
        settings.join(" ")
    );
    fs::write(tools.join("codex"), shim).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(tools.join("codex"), mode).unwrap();
    let path = format!("{}:{}", tools.display(), search_path().to_str().unwrap());
    let home = site.world.machine.home.variables().into_iter().collect::<HashMap<_, _>>();
    let run = Run::of(Path::new("/bin/bash"), ["-e", "-c", step["run"].as_str().unwrap()]);
    let option = site.network.option();
    site.answered(run.envs(home).env("PATH", path).through(["nsenter", &option]).run());
}

/// The unit is valid, and the mounts and variables that it names hand the login to its user.
#[test]
fn a_systemd_service_gets_tokens() {
    let unit = recipe("A systemd service", "ini");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.service");
    fs::write(&file, format!("{unit}\nExecStart=/usr/bin/true\n").replace("=agent", "=daemon")).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("agent.service"), "{said}");

    let mut machine = Machine::with_file();
    let site = Site::new(&mut machine);
    export(&site.world, &site.home().join("codex-export"), &["--uid", "54321"]);
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("{key} is missing")).replace("/home/ada", site.home().to_str().unwrap())
    };
    let mounts = value("BindReadOnlyPaths");
    let (source, target) = mounts.rsplit_once(':').unwrap();
    let script = "exec 9< \"$PROGRAM\"
        mount --bind \"$SOURCE\" /mnt
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir \"$TARGET\"
        mount --move /mnt \"$TARGET\"
        mount -o remount,bind,ro \"$TARGET\"
        cd /
        exec setpriv --reuid=54321 --regid=54321 --clear-groups env --ignore-environment \"$SET\" \
            /proc/self/fd/9 token";
    let run = Run::of(Path::new("/bin/sh"), ["-euc", script]).env("PROGRAM", program());
    let run = run.env("SOURCE", source).env("TARGET", target).env("SET", value("Environment"));
    let ended = run.through(["unshare", "--mount"]).run().expect(0);
    assert_eq!(ended.out.trim_end(), site.world.stored_token("access_token"));
}
