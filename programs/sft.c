/* fathom sft: conversations to a model that answers. */
#include "commands.h"
#include "finetune.h"

int cmd_sft(const struct options *o, struct error *err)
{
    struct finetune f;
    if (!o->from) return usage_error(err, "--from MODEL is missing: the run or the model to start from");
    if (!o->output) return usage_error(err, "-o DIR is missing: the folder of the new run");
    int rc = finetune_open(&f, o, "sft", err);
    f.paths = o->args;
    f.n_paths = o->n_args;
    if (rc == STATUS_OK) rc = finetune_run(&f, err);
    finetune_close(&f);
    return exit_code(rc);
}
