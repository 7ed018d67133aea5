# Installs a release as `brew install` would, with as much of Homebrew's language as the formula uses, and runs its test.
# Usage: ruby formula.rb FORMULA UNPACKED PREFIX TARGET
require 'fileutils'
require 'pathname'

FORMULA, UNPACKED, PREFIX, TARGET = ARGV
SYSTEM = TARGET.include?('apple') ? 'macos' : 'linux'
PROCESSOR = TARGET.start_with?('aarch64') ? 'arm' : 'intel'

class Pathname
  # Files as PATH, or as PATH => NAME, as in Homebrew.
  def install(*files) = each_of(files) { |from, to| FileUtils.cp_r(from, to) }

  def install_symlink(*files)
    each_of(files) { |from, to| FileUtils.ln_s(Pathname(from).relative_path_from(to.dirname), to) }
  end

  private

  def each_of(files)
    mkpath
    pairs = files.flatten.flat_map { |file| file.is_a?(Hash) ? file.to_a : [[file, File.basename(file)]] }
    raise 'nothing to install' if pairs.empty?

    pairs.each { |from, name| yield from, self / name }
  end
end

class Formula
  class << self
    attr_reader :known, :check

    %i[desc homepage version license url sha256].each do |name|
      define_method(name) { |value| ((@known ||= {})[name] ||= []) << value }
    end

    %w[macos linux].each { |system| define_method("on_#{system}") { |&block| block.call if system == SYSTEM } }
    %w[arm intel].each { |processor| define_method("on_#{processor}") { |&block| block.call if processor == PROCESSOR } }

    def test(&block) = @check = block

    def inherited(formula) = @formula = formula

    def last = @formula
  end

  { bin: 'bin', libexec: 'libexec', opt_libexec: 'libexec', man1: 'share/man/man1', pkgshare: 'share/codex-auth',
    bash_completion: 'etc/bash_completion.d', fish_completion: 'share/fish/vendor_completions.d',
    zsh_completion: 'share/zsh/site-functions' }.each do |name, path|
    define_method(name) { Pathname(PREFIX) / path }
  end

  def version = self.class.known[:version].first

  def testpath = Pathname(PREFIX).parent.join('testpath').tap(&:mkpath)

  def shell_output(command, status = 0)
    output = `#{command}`
    raise "#{command}: exit #{$?.exitstatus}, #{output}" unless $?.exitstatus == status

    output
  end

  def assert_match(expected, text)
    raise "no #{expected} in #{text}" unless text.include?(expected)
  end
end

load FORMULA
formula = Formula.last
known = formula.known
raise "not once: #{known}" unless known.size == 6 && known.values.all?(&:one?)
raise known[:url].first unless known[:url].first.end_with?("codex-auth-#{known[:version].first}-#{TARGET}.tar.gz")

installed = formula.new
Dir.chdir(UNPACKED) { installed.install }
installed.instance_eval(&formula.check)
puts installed.caveats, known[:sha256]
