def write(args, doc, folder):
    pass
