/* Reading a list of goals, and finding the rows that they mean. */
#include "goals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fields of a selector, and whether they are numbers. */
static const struct {
    const char *name;
    int number;
} fields[] = {{"work", 0},     {"by", 0},     {"shape", 0},   {"k", 0},         {"v", 0},
              {"layout", 0},   {"mask", 0},   {"backend", 0}, {"precision", 0}, {"from", 0},
              {"head_dim", 1}, {"kv_len", 1}, {"threads", 1}};
enum { N_FIELDS = sizeof fields / sizeof fields[0] };

static const char *text_of(const kvb_bench_row *row, const char *field, char shape[2]) {
    shape[0] = row->shape;
    shape[1] = '\0';
    const struct {
        const char *name, *value;
    } texts[] = {{"work", row->work},
                 {"by", row->by},
                 {"shape", shape},
                 {"k", row->k},
                 {"v", row->v},
                 {"layout", row->layout},
                 {"mask", row->mask},
                 {"backend", row->backend},
                 {"precision", row->precision},
                 {"from", row->temperature}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(texts[i].name, field) == 0)
            return texts[i].value ? texts[i].value : "";
    return "";
}

static int number_of(const kvb_bench_row *row, const char *field) {
    return strcmp(field, "head_dim") == 0 ? row->head_dim : strcmp(field, "kv_len") == 0 ? row->kv_len : row->threads;
}

/* What an omitted field means for this row; NULL: anything. */
static const char *default_text(const kvb_bench_row *row, const char *field, const char *backend) {
    const int of_attention = row->shape != 0;
    if (strcmp(field, "by") == 0)
        return "kvbits";
    if (strcmp(field, "backend") == 0 && row->backend && strcmp(row->work, "fma") != 0)
        return backend;
    if (strcmp(field, "precision") == 0 && row->precision)
        return "fast";
    return strcmp(field, "from") == 0 && of_attention ? "cold" : NULL;
}

int kvb_bench_selects(const json_t *selector, const kvb_bench_row *row, const char *backend) {
    for (int i = 0; i < N_FIELDS; i++) {
        const json_t *wanted = json_object_get(selector, fields[i].name);
        char shape[2];
        if (fields[i].number) {
            const int threads_default = strcmp(fields[i].name, "threads") == 0;
            if (wanted ? json_integer_value(wanted) != number_of(row, fields[i].name)
                       : threads_default && row->threads != 1)
                return 0;
            continue;
        }
        const char *text = wanted ? json_string_value(wanted) : default_text(row, fields[i].name, backend);
        if (text && strcmp(text, text_of(row, fields[i].name, shape)) != 0)
            return 0;
    }
    return 1;
}

static kvb_status check_selector(const json_t *selector, const char *name, const char *key, kvb_error *error) {
    const char *field;
    const json_t *value;
    if (!json_is_object(selector) || !json_is_string(json_object_get(selector, "work")))
        return kvb_error_set(error, KVB_ERROR_FORMAT, "goal '%.80s': \"%s\" must be an object with \"work\"", name,
                             key);
    json_object_foreach((json_t *)selector, field, value) {
        int i = 0;
        while (i < N_FIELDS && strcmp(fields[i].name, field) != 0)
            i++;
        if (i == N_FIELDS)
            return kvb_error_set(error, KVB_ERROR_FORMAT,
                                 "goal '%.80s': \"%s\" has an unknown field '%.40s'; legal: work, by, shape, head_dim, "
                                 "kv_len, k, v, layout, mask, backend, precision, from and threads",
                                 name, key, field);
        if (fields[i].number ? !json_is_integer(value) : !json_is_string(value))
            return kvb_error_set(error, KVB_ERROR_FORMAT, "goal '%.80s': \"%s\" must be a %s", name, field,
                                 fields[i].number ? "whole number" : "text");
    }
    return KVB_OK;
}

static kvb_status check_keys(const json_t *object, const char *name, kvb_error *error) {
    static const char *const legal[] = {"name", "row", "over", "at_most", "at_least", "unit", "note"};
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        size_t i = 0;
        while (i < sizeof legal / sizeof legal[0] && strcmp(legal[i], key) != 0)
            i++;
        if (i == sizeof legal / sizeof legal[0])
            return kvb_error_set(error, KVB_ERROR_FORMAT,
                                 "goal '%.80s' has an unknown key '%.40s'; legal: name, row, over, at_most, at_least, "
                                 "unit and note",
                                 name, key);
    }
    return KVB_OK;
}

static kvb_status read_goal(const json_t *object, size_t i, kvb_bench_goal *goal, kvb_error *error) {
    const json_t *most = json_object_get(object, "at_most"), *least = json_object_get(object, "at_least");
    const json_t *limit = least ? least : most;
    *goal = (kvb_bench_goal){.name = json_string_value(json_object_get(object, "name")),
                             .unit = json_string_value(json_object_get(object, "unit")),
                             .row = json_object_get(object, "row"),
                             .over = json_object_get(object, "over"),
                             .limit = json_number_value(limit),
                             .at_least = least != NULL};
    if (!goal->name)
        return kvb_error_set(error, KVB_ERROR_FORMAT, "goal %zu has no \"name\"", i + 1);
    kvb_status status = check_keys(object, goal->name, error);
    if (status == KVB_OK)
        status = check_selector(goal->row, goal->name, "row", error);
    if (status == KVB_OK && goal->over)
        status = check_selector(goal->over, goal->name, "over", error);
    if (status != KVB_OK)
        return status;
    if ((most != NULL) == (least != NULL) || !json_is_number(limit) || !(goal->limit > 0.0))
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "goal '%.80s' needs one of \"at_most\" and \"at_least\", a number above 0", goal->name);
    if ((goal->over != NULL) == (goal->unit != NULL))
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "goal '%.80s' needs \"unit\" for a row's value, or \"over\" for a quotient, not both",
                             goal->name);
    return KVB_OK;
}

/* Everything in the file but the meaning of its goals. */
static kvb_status load(const char *path, kvb_bench_goals *goals, kvb_error *error) {
    json_error_t fault;
    FILE *file = fopen(path, "rb");
    if (!file)
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s: could not be opened: %s", path, strerror(errno));
    goals->document = json_loadf(file, JSON_REJECT_DUPLICATES, &fault);
    const int unreadable = ferror(file);
    fclose(file);
    if (unreadable)
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s: could not be read", path);
    if (!goals->document)
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%.200s is no JSON: line %d: %.120s", path, fault.line,
                             fault.text);
    return KVB_OK;
}

kvb_status kvb_bench_goals_read(const char *path, kvb_bench_goals **out, kvb_error *error) {
    *out = NULL;
    kvb_bench_goals *goals = calloc(1, sizeof *goals);
    if (!goals)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for goals");
    kvb_status status = load(path, goals, error);
    const json_t *list = json_object_get(goals->document, "goals");
    if (status != KVB_OK) {
        kvb_bench_goals_free(goals);
        return status;
    }
    if (json_integer_value(json_object_get(goals->document, "kvbits_goals")) != 1 || json_array_size(list) == 0)
        status = kvb_error_set(error, KVB_ERROR_FORMAT,
                               "%.200s is no list of goals: it needs \"kvbits_goals\": 1 and \"goals\": [...]", path);
    else if (!(goals->goals = calloc(json_array_size(list), sizeof *goals->goals)))
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for goals");
    for (; status == KVB_OK && goals->n < json_array_size(list); goals->n++)
        status = read_goal(json_array_get(list, goals->n), goals->n, &goals->goals[goals->n], error);
    if (status != KVB_OK) {
        kvb_bench_goals_free(goals);
        return status;
    }
    *out = goals;
    return KVB_OK;
}

void kvb_bench_goals_free(kvb_bench_goals *goals) {
    if (!goals)
        return;
    json_decref(goals->document);
    free(goals->goals);
    free(goals);
}

/* Does a goal name this backend or precision? */
static int names(const kvb_bench_goals *goals, const char *field, const char *text) {
    for (size_t i = 0; i < goals->n; i++) {
        const json_t *const selectors[] = {goals->goals[i].row, goals->goals[i].over};
        for (int k = 0; k < 2; k++) {
            const char *wanted = json_string_value(json_object_get(selectors[k], field));
            if (wanted && strcmp(wanted, text) == 0)
                return 1;
        }
    }
    return 0;
}

void kvb_bench_goals_add_backends(const kvb_bench_goals *goals, kvb_bench_config *config) {
    const char *name;
    kvb_error ignored;
    for (size_t i = 0; (name = kvb_backend_list(i)) != NULL && config->n_backends < KVB_BENCH_LIST; i++) {
        const kvb_backend *backend;
        if (!names(goals, "backend", name) || kvb_backend_open(name, &backend, &ignored) != KVB_OK)
            continue; /* what this processor lacks stays not measured */
        int k = 0;
        while (k < config->n_backends && config->backends[k] != backend)
            k++;
        config->backends[k] = backend;
        config->n_backends += k == config->n_backends;
    }
}

void kvb_bench_goals_add_precisions(const kvb_bench_goals *goals, kvb_bench_config *config) {
    config->n_precisions = 0;
    config->precisions[config->n_precisions++] = KVB_PRECISION_FAST;
    if (names(goals, "precision", "precise"))
        config->precisions[config->n_precisions++] = KVB_PRECISION_PRECISE;
}

int kvb_bench_goals_want(const kvb_bench_goals *goals, const kvb_bench_row *row, const char *backend) {
    for (size_t i = 0; i < goals->n; i++)
        if (kvb_bench_selects(goals->goals[i].row, row, backend) ||
            (goals->goals[i].over && kvb_bench_selects(goals->goals[i].over, row, backend)))
            return 1;
    return 0;
}
