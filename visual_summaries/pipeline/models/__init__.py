"""The networks that are explained: classifiers with their preprocessing, weights and class names.

`loading.load_classifier` turns what a person writes (`torchvision:squeezenet1_1` and a weights file, one of timm's or
Hugging Face's, a function of their own, or `demo`) into a `classifier.Classifier`, which takes images in [0, 1] and
owns normalization. Nothing here imports more than torch, torchvision and safetensors, unless timm's or Hugging Face's
networks are asked for.
"""
