"""The authors' networks of visual prompting, written out from their papers with their names of weights.

Masked autoencoder: He et al. 2022, appendix A.1, with the head of Bar et al. 2022. VQGAN: Esser et al. 2021, table 7.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 2 * width), "fc2": nn.Linear(2 * width, width)})
        self.heads = heads

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.attn["qkv"](self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT * (d // self.heads) ** -0.5).softmax(-1)
        x = x + self.attn["proj"]((weights @ v).transpose(1, 2).reshape(b, n, d))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class MaskedAutoencoder(nn.Module):
    """Patches of 16 pixels; `heads` of attention in the encoder and in the decoder."""

    def __init__(self, side=64, width=32, depth=2, decoder_width=16, decoder_depth=1, heads=4, codes=24):
        super().__init__()
        n = (side // 16) ** 2
        self.cls_token, self.mask_token = (
            nn.Parameter(torch.randn(1, 1, width)),
            nn.Parameter(torch.randn(1, 1, decoder_width)),
        )
        self.pos_embed = nn.Parameter(torch.randn(1, n + 1, width))
        self.decoder_pos_embed = nn.Parameter(torch.randn(1, n + 1, decoder_width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 16, 16)})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.decoder_blocks = nn.ModuleList(Block(decoder_width, heads) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_width, codes)

    def forward(self, x, masked):
        """Normalised pictures `(b, 3, s, s)`, and which patches `(n,)` are masked -> logits `(b, n, codes)`."""
        x = self.patch_embed["proj"](x).flatten(2).mT + self.pos_embed[:, 1:]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x[:, ~masked]], 1)
        for block in self.blocks:
            x = block(x)
        x = self.decoder_embed(self.norm(x))
        whole = self.mask_token.expand(len(x), len(masked), -1).clone()
        whole[:, ~masked] = x[:, 1:]
        x = torch.cat([x[:, :1], whole], 1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]


def norm(width):
    return nn.GroupNorm(32, width, eps=1e-6)


class Resnet(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.norm1, self.conv1 = norm(width), nn.Conv2d(width, out, 3, padding=1)
        self.norm2, self.conv2 = norm(out), nn.Conv2d(out, out, 3, padding=1)
        if width != out:
            self.nin_shortcut = nn.Conv2d(width, out, 1)

    def forward(self, x):
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x):
        b, c, h, w = x.shape
        y = self.norm(x)
        q, k, v = (layer(y).flatten(2) for layer in (self.q, self.k, self.v))
        weights = (q.mT @ k * c**-0.5).softmax(-1)
        return x + self.proj_out((v @ weights.mT).view(b, c, h, w))


def middle(width):
    return nn.ModuleDict({"block_1": Resnet(width, width), "attn_1": Attention(width), "block_2": Resnet(width, width)})


def through(mid, x):
    return mid["block_2"](mid["attn_1"](mid["block_1"](x)))


class Encoder(nn.Module):
    def __init__(self, widths, layers, latent):
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down, width = nn.ModuleList(), widths[0]
        for level, out in enumerate(widths):
            last = level == len(widths) - 1
            parts = {"block": nn.ModuleList(), "attn": nn.ModuleList()}
            for _ in range(layers):
                parts["block"].append(Resnet(width, out))
                width = out
                if last:
                    parts["attn"].append(Attention(out))
            if not last:
                parts["downsample"] = nn.ModuleDict({"conv": nn.Conv2d(out, out, 3, 2)})
            self.down.append(nn.ModuleDict(parts))
        self.mid, self.norm_out = middle(width), norm(width)
        self.conv_out = nn.Conv2d(width, latent, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.down:
            for index, block in enumerate(level["block"]):
                x = block(x)
                x = level["attn"][index](x) if len(level["attn"]) else x
            if "downsample" in level:
                x = level["downsample"]["conv"](F.pad(x, (0, 1, 0, 1)))
        return self.conv_out(F.silu(self.norm_out(through(self.mid, x))))


class Decoder(nn.Module):
    def __init__(self, widths, layers, latent):
        super().__init__()
        width = widths[-1]
        self.conv_in, self.mid = nn.Conv2d(latent, width, 3, padding=1), middle(width)
        ups = []
        for level in reversed(range(len(widths))):
            out = widths[level]
            parts = {"block": nn.ModuleList(), "attn": nn.ModuleList()}
            for _ in range(layers + 1):
                parts["block"].append(Resnet(width, out))
                width = out
                if level == len(widths) - 1:
                    parts["attn"].append(Attention(out))
            if level:
                parts["upsample"] = nn.ModuleDict({"conv": nn.Conv2d(out, out, 3, padding=1)})
            ups.insert(0, nn.ModuleDict(parts))
        self.up, self.norm_out = nn.ModuleList(ups), norm(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        x = through(self.mid, self.conv_in(x))
        for level in reversed(self.up):
            for index, block in enumerate(level["block"]):
                x = block(x)
                x = level["attn"][index](x) if len(level["attn"]) else x
            if "upsample" in level:
                x = level["upsample"]["conv"](F.interpolate(x, scale_factor=2.0))
        return self.conv_out(F.silu(self.norm_out(x)))


class Vqgan(nn.Module):
    """f16 with five levels, as `vqgan_imagenet_f16_1024`; narrower."""

    def __init__(self, widths=(32, 32, 32, 32, 64), layers=1, latent=8, codes=24):
        super().__init__()
        self.encoder, self.decoder = Encoder(widths, layers, latent), Decoder(widths, layers, latent)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(codes, latent)})
        self.quant_conv, self.post_quant_conv = nn.Conv2d(latent, latent, 1), nn.Conv2d(latent, latent, 1)

    def codes(self, x):
        """Pictures `(b, 3, h, w)` in [-1, 1] -> `(b, n)`."""
        z = self.quant_conv(self.encoder(x)).flatten(2).mT
        table = self.quantize["embedding"].weight
        return (z[:, :, None] - table).square().sum(-1).argmin(-1)

    def pictures(self, codes, side):
        z = self.quantize["embedding"](codes).mT.unflatten(2, (side, side))
        return self.decoder(self.post_quant_conv(z))
