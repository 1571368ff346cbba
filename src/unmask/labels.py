"""The classes that a network was given, and what --label says of them."""


def classes_of(model) -> tuple[int, list[str]]:
    """How many classes the network was given, and their names, where they have some."""
    if not model.meta.get("labels"):
        return 0, []
    return model.meta["data"].get("classes", 0), model.meta["data"].get("class_names", [])


def check_unlabelled(model, fix: str) -> None:
    """ValueError for a network that was always given a class, whose answers without one are noise;
    `fix`: what to do."""
    if model.meta.get("labels") and not model.meta.get("label_dropout"):
        raise ValueError(
            f"the model never saw an example without its class (--label-dropout 0): {fix}"
        )


def label_of(said: str, model) -> int | None:
    """The class that --label says, by its name or its number; None if it says none."""
    if said in ("", "-1"):
        return None
    classes, names = classes_of(model)
    if not classes:
        raise ValueError(f"--label {said}: the model knows no classes")
    if said in names:
        return names.index(said)
    if said.isdigit() and int(said) < classes:
        return int(said)
    called = f", called {', '.join(names[:20])}" if names else ""
    raise ValueError(f"--label {said}: the classes are 0 to {classes - 1}{called}")


def labels_of(said: str, num: int, model) -> list[int] | None:
    """Classes for `num` samples of a network that was given classes, or None."""
    label, (classes, _) = label_of(said, model), classes_of(model)
    if label is not None:
        return [label] * num
    return [i % classes for i in range(num)] if classes else None
